package cli_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/cli"
)

// The log is shown, not obeyed, unless that is asked for.
func TestConsoleLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cloud.add("web", "Active")
	code, out, errs := w.run(t, "vm", "console", "web", "--log")
	if want := "[    0.000000] Linux version 6.1\nweb login: \ufffd1m\ufffd\ttab\n"; code != 0 || out != want {
		t.Errorf("exit code %d, %q, %s; want %q", code, out, errs, want)
	}
	for _, c := range out {
		if c != '\n' && c != '\t' && !unicode.IsPrint(c) {
			t.Errorf("it prints %U", c)
		}
	}
	if _, out, _ := w.run(t, "vm", "console", "web", "--log", "--raw"); out != consoleText {
		t.Errorf("raw it is %q, want %q", out, consoleText)
	}
	w.cloud.add("away", "Active")
	if code, _, errs := w.run(t, "vm", "console", "away", "--log"); code != 0 {
		t.Errorf("from another part of the cloud: exit code %d, %s", code, errs)
	}
	for _, args := range [][]string{{"--raw"}, {"--take", "--read-only"}, {"--log", "--take"}} {
		if code, _, errs := w.run(t, append([]string{"vm", "console", "web"}, args...)...); code != 2 {
			t.Errorf("%q: exit code %d, %s, want 2", args, code, errs)
		}
	}
}

// screen is a terminal of its own: what is typed at it, and what it shows.
type screen struct {
	t              *testing.T
	keys, terminal *os.File
	before         unix.Termios
	mu             sync.Mutex
	seen           bytes.Buffer
	errs           bytes.Buffer
}

func newScreen(t *testing.T) *screen {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	connection, err := keys.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	ctl := connection.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil || ctl != nil {
		t.Fatal(err, ctl)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = terminal.Close(), keys.Close() })
	s := &screen{t: t, keys: keys, terminal: terminal}
	s.before = s.modes()
	go func() { _, _ = io.Copy(io.Discard, keys) }() // its echo
	return s
}

func (s *screen) modes() unix.Termios {
	s.t.Helper()
	modes, err := unix.IoctlGetTermios(int(s.terminal.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *modes
}

// Write shows text.
func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.Write(text)
}

func (s *screen) shows(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.seen.String(), text)
}

func (s *screen) await(what string, cond func() bool) {
	s.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 4000 {
		if cond() {
			return
		}
		<-tick.C
	}
	s.t.Fatalf("it doesn't come to that: %s", what)
}

func (s *screen) types(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.keys, text); err != nil {
		s.t.Fatal(err)
	}
}

// run runs cpucloud at the screen.
func (s *screen) run(ctx context.Context, w *world, args ...string) <-chan int {
	in := cli.IO{
		In: s.terminal, Out: s, Err: &s.errs, Env: func(name string) string { return w.env[name] }, Now: time.Now, Rand: rand.Reader,
		Terminal: func(any) (int, bool) { return 60, true },
	}
	root := cli.New(in) //nolint:contextcheck // commands take the context they are run with
	root.SetArgs(args)
	ended := make(chan int, 1)
	go func() { ended <- cli.Execute(ctx, root, in) }()
	return ended
}

// Every key goes to the VM as it is pressed, Ctrl-C too, and Ctrl-] leaves. Whatever way
// out is taken, the terminal is as it was.
func TestConsoleAtATerminal(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]struct {
		do   func(s *screen, cancel func())
		code int
		says string
	}{
		"leaving":      {func(s *screen, _ func()) { s.types("\x1d") }, 0, "press Enter"},
		"powering off": {func(s *screen, _ func()) { s.types("halt\r") }, 6, "switched off"},
		"a signal":     {func(_ *screen, cancel func()) { cancel() }, 130, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, s := newWorld(t), newScreen(t)
			w.cloud.add("web", "Active")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := s.run(ctx, w, "vm", "console", "web")
			s.await("the terminal is raw", func() bool { return s.modes().Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) == 0 })
			s.types("ls\x03")
			s.await("the VM answers", func() bool { return s.shows("LS\x03") })
			leave.do(s, cancel)
			code := <-ended
			if s.modes() != s.before {
				t.Errorf("the terminal is %+v, was %+v", s.modes(), s.before)
			}
			if !s.shows("\x1b[?25h") {
				t.Error("the cursor may be hidden still")
			}
			if said := s.errs.String(); code != leave.code || !strings.Contains(said, leave.says) || strings.Contains(said, "\x1b") {
				t.Errorf("exit code %d, want %d; it said %q, want %q", code, leave.code, said, leave.says)
			}
		})
	}
}

func TestConsoleOfABusyVM(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cloud.add("busy", "Active")
	for take, want := range map[string]string{"--take": "you write", "--take=false": "you watch"} {
		s := newScreen(t)
		ended := s.run(t.Context(), w, "vm", "console", "busy", take)
		s.await("the terminal is raw", func() bool { return s.modes().Lflag&unix.ICANON == 0 })
		s.types("hi")
		if take == "--take" {
			s.await("the VM answers", func() bool { return s.shows("HI") })
		}
		s.types("\x1d")
		if code := <-ended; code != 0 || take == "--take" && !strings.Contains(s.errs.String(), want) {
			t.Errorf("%s: exit code %d, it said %q, want %q", take, code, s.errs.String(), want)
		}
	}
}
