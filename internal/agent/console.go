package agent

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/serial"
	"github.com/cpucloud/cpucloud/internal/serial/socket"
	"github.com/cpucloud/cpucloud/internal/vm"
	"github.com/cpucloud/cpucloud/internal/wire"
)

const (
	maxSessions = 128              // consoles that this agent connects at once
	maxAtDesk   = 8                // of them before one VM
	dialFor     = 10 * time.Second // how long the replica is looked for at which somebody waits
	firstRedial = 100 * time.Millisecond
	lastRedial  = time.Second

	// shown bounds what is sent of one console to one who sits before it, in a tick.
	shown     = 128 << 10
	shownTick = 250 * time.Millisecond
)

// switchboard connects consoles to those who wait for them at the control plane.
type switchboard struct {
	Config
	client *wire.Client

	mu       sync.Mutex
	sessions map[string]bool  // that are being connected, or are
	desks    map[string]*desk // by VM
	all      sync.WaitGroup
}

func newSwitchboard(c Config, client *wire.Client) *switchboard {
	return &switchboard{Config: c, client: client, sessions: map[string]bool{}, desks: map[string]*desk{}}
}

// answer connects what is asked for, unless it is being done already. It doesn't wait.
func (b *switchboard) answer(ctx context.Context, calls []vm.Call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range calls {
		if b.sessions[c.Session] {
			continue
		}
		if len(b.sessions) >= maxSessions { // who waits is told when his time is up
			b.Log.WarnContext(ctx, "too many consoles are open; one more is not connected", "vm_id", c.VM)
			return
		}
		b.sessions[c.Session] = true
		b.all.Go(func() {
			defer b.leave(c.Session)
			b.serve(ctx, c)
		})
	}
}

func (b *switchboard) leave(session string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sessions, session)
}

// serve connects one console and returns when that is over.
func (b *switchboard) serve(ctx context.Context, c vm.Call) {
	line, err := b.dial(ctx, c.Session)
	if err != nil {
		if ctx.Err() == nil {
			b.Log.WarnContext(ctx, "console not connected", "vm_id", c.VM, "error", err)
		}
		return
	}
	kept, stop := context.WithCancel(ctx)
	defer stop()
	go line.Keep(kept)
	if c.Log {
		err = b.sendLog(ctx, line, c.VM)
	} else {
		err = b.sit(ctx, line, c)
	}
	if fault.Is(err, fault.Internal) && ctx.Err() == nil {
		b.Log.WarnContext(ctx, "console ended", "vm_id", c.VM, "error", err)
	}
	line.Close(ctx, lastOf(err))
}

// dial connects to where the session waits: behind a load balancer that may take
// several tries.
func (b *switchboard) dial(ctx context.Context, session string) (*socket.Socket, error) {
	ctx, cancel := context.WithTimeout(ctx, dialFor)
	defer cancel()
	for pause := firstRedial; ; pause = min(2*pause, lastRedial) {
		line, err := b.client.Console(ctx, session)
		if err == nil {
			return line, nil
		}
		if wait(ctx, pause, nil); ctx.Err() != nil {
			return nil, err
		}
	}
}

// sendLog sends the end of what a VM wrote to its console.
func (b *switchboard) sendLog(ctx context.Context, line serial.Line, id string) error {
	text, err := b.Hypervisor.Console(ctx, id)
	if err != nil {
		return err
	}
	for len(text) > 0 {
		n := min(len(text), serial.MaxFrame)
		if err := line.Send(ctx, serial.Frame{Data: text[:n]}); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// sit connects a console until one of both ends it.
func (b *switchboard) sit(ctx context.Context, line serial.Line, c vm.Call) error {
	port, err := b.Hypervisor.Attach(ctx, c.VM)
	if err != nil {
		return err
	}
	defer port.Close() //nolint:errcheck // it lets go of something in memory
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	chair, err := b.sitDown(c)
	if err != nil {
		return err
	}
	defer b.getUp(chair)
	parts := make(chan error, 3)
	go func() { parts <- show(ctx, line, port) }()
	go func() { parts <- b.typeIn(ctx, line, port, chair) }()
	go func() { parts <- chair.tellAll(ctx, line) }()
	why := <-parts
	line.Close(ctx, lastOf(why)) // which ends the others
	_ = port.Close()
	stop()
	_, _ = <-parts, <-parts // because of that
	return why
}

func lastOf(err error) serial.Note {
	if err == nil {
		return serial.Note{}
	}
	return serial.Note{Text: sorry(err), Failed: true}
}

// show sends what the guest writes, no faster than a person and his line can take.
func show(ctx context.Context, line serial.Line, port io.Reader) error {
	pace := serial.Pace{Bytes: shown, Per: shownTick}
	text := make([]byte, serial.MaxFrame)
	for {
		n, err := port.Read(text)
		switch {
		case errors.Is(err, io.EOF):
			return errMachineEnded
		case err != nil:
			return err
		}
		if err := line.Send(ctx, serial.Frame{Data: text[:n]}); err != nil {
			return err
		}
		if !pace.Pass(ctx.Done(), n) {
			return ctx.Err()
		}
	}
}

var errMachineEnded = fault.New(fault.Conflict, "the VM was switched off, or starts again; connect again when it runs")

// typeIn types what is sent, as long as who sends it is the one who writes. It returns
// nil when he is gone.
func (b *switchboard) typeIn(ctx context.Context, line serial.Line, port io.Writer, c *chair) error {
	told := false
	for {
		f, err := line.Receive(ctx)
		if err != nil || f.Note != nil && f.Note.End {
			return nil //nolint:nilerr // he may hang up however he likes
		}
		if len(f.Data) == 0 {
			continue
		}
		if !b.writes(c) {
			if !told {
				told = true
				b.tell(c, serial.Note{Text: "what you type is not sent: you only watch"})
			}
			continue
		}
		switch _, err := port.Write(f.Data); {
		case fault.Is(err, fault.Unavailable):
			b.tell(c, serial.Note{Text: fault.Message(err)})
		case err != nil:
			return err
		}
	}
}
