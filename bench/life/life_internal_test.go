package main

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
)

func TestChosen(t *testing.T) {
	t.Parallel()
	wanted, err := chosen("console,reboot")
	if err != nil || len(wanted) != 2 || wanted[0].name != "console" || wanted[1].name != "reboot" {
		t.Errorf("chosen gave %v, %v", wanted, err)
	}
	if wanted, err := chosen(strings.Join(names(), ",")); err != nil || len(wanted) != len(sections) {
		t.Errorf("chosen gave %d of %d sections, %v", len(wanted), len(sections), err)
	}
	for _, text := range []string{"", "reboot,", "boot"} {
		if wanted, err := chosen(text); err == nil {
			t.Errorf("chosen(%q) gave %v, want an error", text, wanted)
		}
	}
}

// duplex is two ends of streams.
type duplex struct {
	io.Reader
	io.Writer
}

// What is pressed at a console counts as seen when it comes back, and not before.
func TestSeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testSeat)
}

func testSeat(t *testing.T) {
	typed, keyboard := io.Pipe()
	screen, shown := io.Pipe()
	go func() { // a shell, as far as the bench looks
		text := make([]byte, 100)
		for {
			n, err := typed.Read(text)
			if err != nil {
				_ = shown.CloseWithError(err)
				return
			}
			echo := string(text[:n])
			if strings.Contains(echo, "echo") {
				echo += "\n42-here\n"
			}
			if _, err := io.WriteString(shown, echo); err != nil {
				return
			}
		}
	}()
	s := sitAt(t.Context(), duplex{screen, keyboard})
	if err := s.shell(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 26; i++ {
		if _, err := s.press(t.Context(), i); err != nil || string(s.seen) != string(rune('a'+i)) {
			t.Fatalf("key %d: %v, seen is %q", i, err, s.seen)
		}
	}
	_ = keyboard.Close()
	if _, err := s.press(t.Context(), 1); err == nil {
		t.Error("a key was pressed at a console that is closed")
	}
}
