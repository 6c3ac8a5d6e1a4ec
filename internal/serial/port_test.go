package serial_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/serial"
)

// Everybody reads everything, whatever the others do.
func TestPortHandsOut(t *testing.T) {
	t.Parallel()
	p := serial.NewPort()
	first, second := attach(t, p), attach(t, p)
	p.Feed([]byte("one "))
	third := attach(t, p)
	p.Feed([]byte("two"))
	_ = second.Close()
	p.End()
	for tap, want := range map[io.Reader]string{first: "one two", third: "two"} {
		if got, err := io.ReadAll(tap); string(got) != want || err != nil {
			t.Errorf("read %q, %v, want %q", got, err, want)
		}
	}
	if _, err := second.Read(make([]byte, 8)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("reading after Close: %v, want %v", err, io.ErrClosedPipe)
	}
	if _, err := p.Attach(); !fault.Is(err, fault.Conflict) {
		t.Errorf("attaching after the end: %v, want a Conflict fault", err)
	}
}

func attach(t *testing.T, p *serial.Port) io.ReadWriteCloser {
	t.Helper()
	tap, err := p.Attach()
	if err != nil {
		t.Fatal(err)
	}
	return tap
}

// A flood waits for nobody and fills nothing; who reads is told how much he missed, and
// gets the newest.
func TestFlood(t *testing.T) {
	t.Parallel()
	p := serial.NewPort()
	slow := attach(t, p)
	chunk := bytes.Repeat([]byte{'x'}, 64<<10)
	const chunks = 1 << 14 // 1 GiB
	for range chunks {
		p.Feed(chunk)
	}
	p.Feed([]byte("last words"))
	p.End()
	text, err := io.ReadAll(slow)
	if err != nil {
		t.Fatal(err)
	}
	mark, shown, _ := strings.Cut(strings.TrimPrefix(string(text), "\r\n"), "\r\n")
	var skipped int
	if _, err := fmt.Sscanf(mark, "[%d bytes were skipped", &skipped); err != nil {
		t.Fatalf("no mark at the beginning: %q", mark)
	}
	if len(shown) > serial.Kept || len(shown) < serial.Kept/2-len(chunk) || !strings.HasSuffix(shown, "last words") {
		t.Errorf("%d bytes were kept, ending in %q", len(shown), shown[max(0, len(shown)-20):])
	}
	if all := chunks*len(chunk) + len("last words"); skipped+len(shown) != all {
		t.Errorf("%d skipped and %d shown are not the %d that were written", skipped, len(shown), all)
	}
}

func TestTooManyTaps(t *testing.T) {
	t.Parallel()
	p := serial.NewPort()
	for range 16 {
		attach(t, p)
	}
	if _, err := p.Attach(); !fault.Is(err, fault.Exhausted) {
		t.Errorf("one too many: %v, want an Exhausted fault", err)
	}
}

func TestTyping(t *testing.T) {
	t.Parallel()
	p := serial.NewPort()
	tap := attach(t, p)
	if _, err := tap.Write([]byte("x")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("typing to nobody: %v, want an Unavailable fault", err)
	}
	var guest bytes.Buffer
	p.Connect(&guest)
	if _, err := tap.Write([]byte("ls\r")); err != nil || guest.String() != "ls\r" {
		t.Errorf("typed %q, %v", guest.String(), err)
	}
	p.End()
	if _, err := tap.Write([]byte("x")); !fault.Is(err, fault.Conflict) {
		t.Errorf("typing to a machine that ended: %v, want a Conflict fault", err)
	}
}

// A log keeps the newest, over any number of restarts, in a file of bounded size.
func TestLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // of a test
		var all []byte
		log := serial.OpenLog(f)
		for n, size := range rapid.SliceOfN(rapid.IntRange(0, 300<<10), 1, 8).Draw(t, "sizes") {
			text := bytes.Repeat([]byte{byte('a' + n)}, size)
			if err := log.Append(text); err != nil {
				t.Fatal(err)
			}
			all = append(all, text...)
			if rapid.Bool().Draw(t, "restart") {
				log = serial.OpenLog(f)
			}
		}
		got, err := serial.ReadLog(f)
		if want := all[max(0, len(all)-serial.Kept):]; err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v, want the last %d of %d", len(got), err, len(want), len(all))
		}
		if info, err := f.Stat(); err != nil || info.Size() > serial.LogSize {
			t.Fatalf("the file has %d bytes, %v", info.Size(), err)
		}
	})
}

// What is no log is read as an empty one, and what a full disk cut off as far as it goes.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"empty": "", "short": "abc", "negative": "\xff\xff\xff\xff\xff\xff\xff\xff"} {
		if got, err := serial.ReadLog(strings.NewReader(text)); len(got) != 0 || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := serial.ReadLog(strings.NewReader("\x00\x00\x00\x00\x00\x10\x00\x00cut")); string(got) != "cut" || err != nil {
		t.Errorf("cut off: %q, %v", got, err)
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, begun := serial.Pace{Bytes: 100, Per: time.Second}, time.Now()
		for range 10 {
			if !p.Pass(nil, 100) {
				t.Fatal("it was stopped")
			}
		}
		if took := time.Since(begun); took != 9*time.Second {
			t.Errorf("1,000 bytes took %s, want 9s", took)
		}
		done := make(chan struct{})
		close(done)
		if p.Pass(done, 1000) {
			t.Error("it goes on though it was stopped")
		}
	})
}
