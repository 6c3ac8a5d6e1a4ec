package serial

import (
	"fmt"
	"io"
	"sync"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// maxTaps is how many may be attached to a port at once.
const maxTaps = 16

// Port is the host's end of one machine's serial port. It hands what the guest
// writes to all that are attached, each at its own speed: who is too slow for
// the guest misses some, and is told how much. The zero value is no port; see NewPort.
type Port struct {
	mu    sync.Mutex
	taps  map[*tap]struct{}
	guest io.Writer // nil while nothing is connected
	over  bool

	typing sync.Mutex // held while something is written to the guest
}

// NewPort returns a port that is not connected to its guest.
func NewPort() *Port { return &Port{taps: map[*tap]struct{}{}} }

// Connect makes guest what is typed to; nil disconnects.
func (p *Port) Connect(guest io.Writer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.guest = guest
}

// Feed takes in what the guest wrote. It never waits for who reads it.
func (p *Port) Feed(text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range p.taps {
		t.feed(text)
	}
}

// End tells all that are attached that nothing follows.
func (p *Port) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over, p.guest = true, nil
	for t := range p.taps {
		t.ready.Broadcast()
	}
}

// Attach returns a hold on the port: it reads what the guest writes from now on,
// and types to the guest what is written. Reading returns io.EOF once the machine
// has ended, and io.ErrClosedPipe after Close. Returns an Exhausted fault when too many are
// attached, Conflict when the machine has ended.
func (p *Port) Attach() (io.ReadWriteCloser, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.over:
		return nil, ErrEnded
	case len(p.taps) >= maxTaps:
		return nil, fault.Newf(fault.Exhausted, "%d hold this console already; end one of them first", maxTaps)
	}
	t := &tap{port: p, ready: sync.Cond{L: &p.mu}}
	p.taps[t] = struct{}{}
	return t, nil
}

// ErrEnded is returned for the console of a machine that doesn't run.
var ErrEnded = fault.New(fault.Conflict, "the VM isn't running on its server; `vm show` says what it waits for")

// tap is one hold on a port. Its fields are guarded by the port's lock.
type tap struct {
	port   *Port
	ready  sync.Cond // there is something to read, or never will be
	text   []byte    // not read yet, at most Kept bytes
	missed int64     // bytes that were dropped before text
	closed bool
}

// feed adds text, in the place of the oldest where there is no room. That frees
// half of the room at once, so that a flood is not copied for each of its drops.
func (t *tap) feed(text []byte) {
	if len(t.text)+len(text) > Kept {
		drop := min(len(t.text), max(Kept/2, len(t.text)+len(text)-Kept))
		t.missed += int64(drop)
		t.text = append(t.text[:0], t.text[drop:]...)
	}
	if more := len(text) - Kept; more > 0 {
		t.missed += int64(more)
		text = text[more:]
	}
	t.text = append(t.text, text...)
	t.ready.Broadcast()
}

// Read returns what the guest wrote, and a line in the place of what was dropped.
func (t *tap) Read(into []byte) (int, error) {
	t.port.mu.Lock()
	defer t.port.mu.Unlock()
	for {
		switch {
		case t.closed:
			return 0, io.ErrClosedPipe
		case t.missed > 0:
			mark := Mark(t.missed)
			t.missed = 0
			n := copy(into, mark)
			t.text = append([]byte(mark[n:]), t.text...) // into is seldom that small
			return n, nil
		case len(t.text) > 0:
			n := copy(into, t.text)
			if t.text = t.text[n:]; len(t.text) == 0 {
				t.text = nil // an idle console takes no memory
			}
			return n, nil
		case t.port.over:
			return 0, io.EOF
		}
		t.ready.Wait()
	}
}

// Mark is what stands in a console for bytes that were dropped.
func Mark(bytes int64) string {
	return fmt.Sprintf("\r\n[%d bytes were skipped: the guest writes faster than they can be shown]\r\n", bytes)
}

// Write types to the guest. Returns an Unavailable fault while the guest's port is
// not connected, Conflict once the machine has ended.
func (t *tap) Write(text []byte) (int, error) {
	p := t.port
	p.mu.Lock()
	guest, over, closed := p.guest, p.over, t.closed
	p.mu.Unlock()
	switch {
	case closed:
		return 0, io.ErrClosedPipe
	case over:
		return 0, ErrEnded
	case guest == nil:
		return 0, fault.New(fault.Unavailable, "the VM's serial port is not connected yet; try again in a moment")
	}
	p.typing.Lock()
	defer p.typing.Unlock()
	return guest.Write(text)
}

// Close lets go of the port.
func (t *tap) Close() error {
	t.port.mu.Lock()
	defer t.port.mu.Unlock()
	t.closed, t.text = true, nil
	delete(t.port.taps, t)
	t.ready.Broadcast()
	return nil
}
