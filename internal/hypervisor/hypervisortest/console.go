package hypervisortest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// parrot is a boot sector whose guest answers each byte that is typed on its serial
// console with the next one.
//
//	00        cli
//	01 next:  mov  dx, 0x3fd     ; line status
//	04 wait:  in   al, dx
//	05        test al, 1         ; data is there
//	07        jz   wait
//	09        mov  dx, 0x3f8
//	0c        in   al, dx
//	0d        inc  al
//	0f        out  dx, al
//	10        jmp  next
var parrot = []byte{0xfa, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, 0xba, 0xf8, 0x03, 0xec, 0xfe, 0xc0, 0xee, 0xeb, 0xef}

// Answer returns what that guest answers to text. A driver without real guests asks
// it in their place.
func Answer(text []byte) []byte {
	answer := slices.Clone(text)
	for i := range answer {
		answer[i]++
	}
	return answer
}

// What is typed, and what comes back: no firmware writes either.
const typed, answered = "#", "$"

// hold is one who holds a console and reads all the time.
type hold struct {
	io.ReadWriteCloser
	mu   sync.Mutex
	seen bytes.Buffer
	err  error // that ended reading
}

func (h *host) attach() *hold {
	h.t.Helper()
	console, err := h.driver.Attach(h.t.Context(), "a")
	if err != nil {
		h.t.Fatalf("Attach: %v", err)
	}
	c := &hold{ReadWriteCloser: console}
	h.t.Cleanup(func() { _ = console.Close() })
	go func() {
		text := make([]byte, 1<<10)
		for {
			n, err := console.Read(text)
			c.mu.Lock()
			c.seen.Write(text[:n])
			c.err = err
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return c
}

func (c *hold) saw(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Contains(c.seen.Bytes(), []byte(text))
}

func (c *hold) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// talks types until an answer is seen: what is typed before the guest runs is lost.
func (c *hold) talks(t *testing.T) {
	t.Helper()
	Await(t, func() bool {
		if _, err := c.Write([]byte(typed)); err != nil && !fault.Is(err, fault.Unavailable) {
			t.Fatalf("type: %v", err)
		}
		return c.saw(answered)
	})
}

func (h *host) consoleIsHeldByMany() {
	t := h.t
	m := h.machine(t, "a")
	teach(t, m, parrot)
	h.start(t, m)
	first, second := h.attach(), h.attach()
	first.talks(t)
	Await(t, func() bool { return second.saw(answered) })
	if text, err := h.driver.Console(t.Context(), "a"); err != nil || !bytes.Contains(text, []byte(answered)) {
		t.Errorf("Console = %q, %v, want the answer in it", text, err)
	}

	// The agent starts anew; the machine notices nothing.
	before := h.Processes(t, "a")
	if d, ok := h.driver.(interface{ Close() }); ok {
		d.Close()
	}
	h.driver = h.Open(t)
	if text, err := h.driver.Console(t.Context(), "a"); err != nil || !bytes.Contains(text, []byte(answered)) {
		t.Errorf("Console of a new driver = %q, %v, want the answer in it", text, err)
	}
	h.attach().talks(t)
	if got := h.Processes(t, "a"); !slices.Equal(got, before) {
		t.Errorf("processes = %v, want those of before, %v", got, before)
	}
}

func (h *host) consoleEndsWithTheMachine() {
	t := h.t
	if _, err := h.driver.Attach(t.Context(), "a"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Attach to no machine = %v, want a NotFound fault", err)
	}
	if _, err := h.driver.Console(t.Context(), "a"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Console of no machine = %v, want a NotFound fault", err)
	}
	m := h.machine(t, "a")
	teach(t, m, parrot)
	h.start(t, m)
	console := h.attach()
	console.talks(t)
	h.Kill(t, "a")
	Await(t, func() bool { return errors.Is(console.ended(), io.EOF) })
	h.await(t, "a exited")
	if _, err := h.driver.Attach(t.Context(), "a"); !fault.Is(err, fault.Conflict) {
		t.Errorf("Attach to a dead machine = %v, want a Conflict fault", err)
	}
	if text, err := h.driver.Console(t.Context(), "a"); err != nil || !bytes.Contains(text, []byte(answered)) {
		t.Errorf("Console of a dead machine = %q, %v, want what it wrote", text, err)
	}
	h.ensure(t, "a") // with another guest
	h.attach()
	if text, err := h.driver.Console(t.Context(), "a"); err != nil || !bytes.Contains(text, []byte(answered)) {
		t.Errorf("Console after a new start = %q, %v, want what it wrote before, too", text, err)
	}
}
