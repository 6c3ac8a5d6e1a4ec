// Package process looks at processes through /proc.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of the times in /proc, 1/USER_HZ: the same on every
// architecture that we know.
const tick = 10 * time.Millisecond

// ErrNone says that there is none of what was looked for.
var ErrNone = errors.New("there is none")

// PID is a process by its id.
type PID int

func (p PID) path(name string) string { return filepath.Join("/proc", strconv.Itoa(int(p)), name) }

// Alive reports whether the process exists and has not ended.
func (p PID) Alive() bool {
	s, err := p.stat()
	return err == nil && s[0] != "Z"
}

// Args returns the command line.
func (p PID) Args() ([]string, error) {
	text, err := os.ReadFile(p.path("cmdline"))
	if err != nil {
		return nil, err
	}
	return strings.Split(string(bytes.TrimSuffix(text, []byte{0})), "\x00"), nil
}

// Program returns the path of what runs.
func (p PID) Program() (string, error) { return os.Readlink(p.path("exe")) }

// Open returns the path of the file with this name that the process has open, or
// ErrNone.
func (p PID) Open(name string) (string, error) {
	entries, err := os.ReadDir(p.path("fd"))
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		path, err := os.Readlink(p.path(filepath.Join("fd", e.Name())))
		if err == nil && filepath.Base(path) == name { // it may have been closed meanwhile
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: file %s of process %d", ErrNone, name, p)
}

// Resident returns how many bytes of memory the process holds. What it shares
// with others counts in full.
func (p PID) Resident() (int64, error) {
	text, err := os.ReadFile(p.path("status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no memory", p)
}

// CPU returns the processor time that the process has used.
func (p PID) CPU() (time.Duration, error) {
	const user, system = 11, 12
	return p.times(user, system)
}

// FamilyCPU returns the processor time that the process and its children have
// used, those that have ended too.
func (p PID) FamilyCPU() (time.Duration, error) {
	const user, endedSystem = 11, 14
	sum, err := p.times(user, user+1, endedSystem-1, endedSystem)
	if err != nil {
		return 0, err
	}
	children, err := p.Children()
	for _, child := range children {
		if used, err := child.CPU(); err == nil { // it may have ended meanwhile
			sum += used
		}
	}
	return sum, err
}

// times sums up fields of stat that are times.
func (p PID) times(fields ...int) (time.Duration, error) {
	s, err := p.stat()
	if err != nil {
		return 0, err
	}
	var ticks time.Duration
	for _, i := range fields {
		n, err := strconv.ParseInt(s[i], 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += time.Duration(n)
	}
	return ticks * tick, nil
}

// Children returns the processes that p has started and that have not ended.
func (p PID) Children() ([]PID, error) {
	parent := strconv.Itoa(int(p))
	return list(func(q PID) bool {
		s, err := q.stat()
		return err == nil && s[0] != "Z" && s[1] == parent
	})
}

// stat returns the fields of /proc/N/stat from the state on. The name before it
// may hold anything.
func (p PID) stat() ([]string, error) {
	text, err := os.ReadFile(p.path("stat"))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return nil, fmt.Errorf("process %d: %s is too short", p, p.path("stat"))
	}
	return fields, nil
}

// WithArgument returns the process that has this argument, or ErrNone.
func WithArgument(argument string) (PID, error) {
	found, err := list(func(p PID) bool {
		args, err := p.Args()
		return err == nil && slices.Contains(args, argument)
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w: with argument %s", ErrNone, argument)
	}
	if err != nil {
		return 0, err
	}
	return found[0], nil
}

func list(keep func(PID) bool) ([]PID, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []PID
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && keep(PID(n)) {
			found = append(found, PID(n))
		}
	}
	return found, nil
}
