package servertest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/servertest"
)

// parrot has the guests of a server answer what is typed with the same in capitals.
func parrot(a *servertest.Agent) {
	a.Machines.OnType = func(id string, text []byte) { a.Machines.Say(id, bytes.ToUpper(text)) }
}

// seat is one who sits before a console.
type seat struct {
	*client.Console
	t      *testing.T
	seen   strings.Builder
	writer bool
	last   client.Note
}

func sitDown(t *testing.T, who *client.Client, id string, o client.ConsoleOptions) *seat {
	t.Helper()
	c, err := who.OpenConsole(t.Context(), id, o)
	if err != nil {
		t.Fatalf("open console: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s := &seat{Console: c, t: t}
	s.until("being told who writes", func() bool { return s.last.Writer != nil })
	return s
}

// until reads until cond holds.
func (s *seat) until(what string, cond func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	for !cond() {
		if err := s.next(ctx); err != nil {
			s.t.Fatalf("waiting for %s: %v; seen %q, last note %+v", what, err, s.seen.String(), s.last)
		}
	}
}

func (s *seat) next(ctx context.Context) error {
	text, note, err := s.Read(ctx)
	if err != nil {
		return err
	}
	s.seen.Write(text)
	if note != nil {
		s.last = *note
		if note.Writer != nil {
			s.writer = *note.Writer
		}
	}
	return nil
}

func (s *seat) says(text string) {
	s.t.Helper()
	s.until("the text "+text, func() bool { return strings.Contains(s.seen.String(), text) })
}

func (s *seat) types(text string) {
	s.t.Helper()
	if err := s.Write(s.t.Context(), []byte(text)); err != nil {
		s.t.Fatalf("type: %v", err)
	}
}

// ends reads to the end and returns what was said last.
func (s *seat) ends() client.Note {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	for {
		if err := s.next(ctx); err != nil {
			if !errors.Is(err, io.EOF) {
				s.t.Errorf("the console was cut off: %v", err)
			}
			return s.last
		}
	}
}

func TestConsole(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	a, anna, ben := cloud.Agent(parrot), cloud.Customer("10"), cloud.Customer("10")
	id := deploy(t, anna, wish(cloud.Demo()))[0]
	reach(t, anna, id, client.StatusActive)
	a.Machines.Say(id, []byte("Booting\x1b[1m Linux\r\n"))

	log, err := anna.ConsoleLog(t.Context(), id)
	if err != nil || string(log) != "Booting\x1b[1m Linux\r\n" {
		t.Errorf("log %q, %v", log, err)
	}
	first := sitDown(t, anna, id, client.ConsoleOptions{})
	first.types("hello\n")
	first.says("HELLO\n")
	if !first.writer {
		t.Error("the first does not write")
	}

	// Everybody sees, one types.
	second := sitDown(t, anna, id, client.ConsoleOptions{})
	second.types("intruder\n")
	second.until("being told", func() bool { return strings.Contains(second.last.Text, "not sent") })
	third := sitDown(t, anna, id, client.ConsoleOptions{Take: true})
	first.until("losing the pen", func() bool { return !first.writer })
	third.types("mine\n")
	for _, s := range []*seat{first, second, third} {
		s.says("MINE\n")
		if strings.Contains(s.seen.String(), "INTRUDER") {
			t.Errorf("who only watches was heard: %q", s.seen.String())
		}
	}
	_ = third.Close()
	first.until("the pen coming back", func() bool { return first.writer })
	first.types("again\n")
	second.says("AGAIN\n")

	// It is nobody else's.
	if _, err := ben.ConsoleLog(t.Context(), id); client.StatusOf(err) != http.StatusNotFound {
		t.Errorf("the log of a foreign VM: %v, want 404", err)
	}
	if _, err := ben.OpenConsole(t.Context(), id, client.ConsoleOptions{}); client.StatusOf(err) != http.StatusNotFound {
		t.Errorf("the console of a foreign VM: %v, want 404", err)
	}

	// It ends with the VM.
	remove(t, anna, id)
	if last := first.ends(); !last.End || !strings.Contains(last.Text, "deleted") {
		t.Errorf("last note %+v, want that the VM was deleted", last)
	}
}
