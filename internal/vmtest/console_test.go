//go:build vm

package vmtest_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
)

// A VM's serial console shows how it boots, and takes what is typed; so it does after
// everything above the machine was killed, in the middle of a session.
func TestConsole(t *testing.T) { //nolint:paralleltest // see TestLife
	c := newCloud(t)
	id := c.deploy(c.wish("web", demoImage))
	c.reach(id, client.StatusActive)

	log, err := c.anna.ConsoleLog(t.Context(), id)
	if err != nil || !strings.Contains(string(log), "Linux version") {
		t.Errorf("the log does not show the boot: %v, %d bytes: %.400q", err, len(log), log)
	}
	before := c.machines()
	seat := c.sit(id)
	seat.answers("echo $((6*7))-here", "42-here")
	seat.measure()

	c.restart()
	seat.ended()
	c.reach(id, client.StatusActive)
	again := c.sit(id)
	again.answers("echo $((6*8))-again", "48-again")
	if now := c.machines(); len(now) != 1 || now[id] != before[id] {
		t.Errorf("machines were %v, are %v", before, now)
	}
	log, err = c.anna.ConsoleLog(t.Context(), id)
	for _, want := range []string{"Linux version", "42-here", "48-again"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("after the crash the log lacks %q: %v", want, err)
		}
	}
	c.remove(id)
	again.ended()
}

// console is one who sits before a VM's console.
type console struct {
	*cloud
	seat *client.Console
	said chan string // what the VM writes; closed at the end
	seen string
}

func (c *cloud) sit(id string) *console {
	c.Helper()
	seat, err := c.anna.OpenConsole(c.Context(), id, client.ConsoleOptions{})
	if err != nil {
		c.Fatalf("open console: %v", err)
	}
	c.Cleanup(func() { _ = seat.Close() })
	s := &console{cloud: c, seat: seat, said: make(chan string, 1000)}
	ctx := context.WithoutCancel(c.Context())
	go func() {
		defer close(s.said)
		for {
			text, note, err := seat.Read(ctx)
			if err != nil || note != nil && note.End {
				return
			}
			s.said <- string(text)
		}
	}()
	return s
}

func (s *console) types(text string) {
	s.Helper()
	if err := s.seat.Write(s.Context(), []byte(text)); err != nil {
		s.Fatalf("type %q: %v", text, err)
	}
}

// answers types a line and reads until the answer comes. What is typed before the
// shell is there is lost, so the line is typed again.
func (s *console) answers(line, want string) {
	s.Helper()
	for range 20 {
		s.seen = ""
		s.types("\r" + line + "\r")
		if s.reads(want, 5*time.Second) {
			return
		}
	}
	s.Fatalf("%q was not answered with %q but with %q", line, want, s.seen)
}

// reads reports whether a text comes within a time.
func (s *console) reads(text string, within time.Duration) bool {
	limit := time.NewTimer(within)
	defer limit.Stop()
	for !strings.Contains(s.seen, text) {
		select {
		case more, open := <-s.said:
			if !open {
				return false
			}
			s.seen += more
		case <-limit.C:
			return false
		}
	}
	return true
}

// ended waits until the console is closed.
func (s *console) ended() {
	s.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		select {
		case _, open := <-s.said:
			if !open {
				return
			}
		case <-limit.C:
			s.Fatal("the console is open still")
		}
	}
}

// measure tells how long it takes until a key that is pressed is seen, through control
// plane, agent, QEMU, guest and back.
func (s *console) measure() {
	s.Helper()
	s.reads("\x00", time.Second) // until it is quiet
	var took []time.Duration
	for i := range 100 {
		key := string(rune('a' + i%26))
		s.seen = ""
		begun := time.Now()
		s.types(key)
		if !s.reads(key, 10*time.Second) {
			s.Fatalf("key %q is not seen: %q", key, s.seen)
		}
		took = append(took, time.Since(begun))
	}
	s.types("\x15") // which takes the line back
	slices.Sort(took)
	s.Logf("a key is seen after %v (p50), %v (p95)", took[50], took[95])
}
