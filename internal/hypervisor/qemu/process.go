package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process names a process of this boot for good: its number is given to
// another one day, its number with its start time is not.
type process struct {
	PID   int    `json:"pid"`
	Ticks uint64 `json:"ticks"` // when it started, in clock ticks after boot
}

// errGone is returned for a process that isn't there (any more).
var errGone = errors.New("the machine's process can't be found")

// processOf returns the process that has number pid now.
func processOf(pid int) (process, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	// proc(5): the second field is a name in parentheses, in which anything
	// may stand; the start is the 22nd, so the 20th behind the name.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return process{}, fmt.Errorf("/proc/%d/stat is cut off", pid)
	}
	ticks, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return process{PID: pid, Ticks: ticks}, err
}

// holder returns the process that holds lock, by looking through all that
// there are. This process is not meant.
func holder(lock os.FileInfo) (process, error) {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return process{}, err
	}
	self := strconv.Itoa(os.Getpid())
	for _, link := range links {
		part := strings.Split(link, "/") // "", proc, pid, fd, number
		if part[2] == self {
			continue
		}
		file, err := os.Stat(link)
		if err != nil || !os.SameFile(file, lock) {
			continue // most links are gone or not ours to see
		}
		info, err := os.ReadFile(filepath.Join("/proc", part[2], "fdinfo", part[4]))
		if err != nil || !bytes.Contains(info, []byte("OFDLCK")) {
			continue // it looks at the file, but not through the locked description
		}
		pid, err := strconv.Atoi(part[2])
		if err != nil {
			return process{}, err
		}
		return processOf(pid)
	}
	return process{}, errGone
}

// handle is a hold on one process, through which no other can be hit.
type handle struct{ fd int }

// open takes hold of p.
func (p process) open() (*handle, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, errGone
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	h := &handle{fd}
	if now, err := processOf(p.PID); err != nil || now != p { // the number is somebody else's
		h.close()
		return nil, errGone
	}
	return h, nil
}

func (h *handle) close() { _ = unix.Close(h.fd) }

func (h *handle) kill() error {
	err := unix.PidfdSendSignal(h.fd, unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill: %w", err)
	}
	return nil
}

// gone waits until the process has ended, at most limit and not beyond ctx,
// and reports whether it has.
func (h *handle) gone(ctx context.Context, limit time.Duration) bool {
	const step = 20 * time.Millisecond // a thread sleeps in poll, so ctx is asked now and then
	for range max(1, limit/step) {
		set := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(set, int(step.Milliseconds()))
		if n == 1 {
			return true
		}
		if ctx.Err() != nil || err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
	return false
}

// lastWords returns the end of what a process said on standard error, fit for
// a log: one line, no control characters.
func lastWords(text []byte) string {
	const lines, length = 3, 400
	all := strings.FieldsFunc(strings.ToValidUTF8(string(text), "?"), func(r rune) bool { return r == '\n' })
	if len(all) > lines {
		all = slices.Delete(all, 0, len(all)-lines)
	}
	clean := strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.Join(all, "; "))
	if len(clean) > length {
		clean = "…" + strings.ToValidUTF8(clean[len(clean)-length:], "")
	}
	return strings.TrimSpace(clean)
}
