package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// UserRange is a range of user ids that nobody else on the host has. The zero
// range stands for DefaultUsers.
type UserRange struct{ First, Count uint32 }

// DefaultUsers are ids that systemd's list of ranges leaves free.
var DefaultUsers = UserRange{First: 0x70000000, Count: 1 << 16}

// ParseUsers reads a range such as "200000-265535". Returns an Invalid fault for
// what is none, or too small for one machine and the probe's guest.
func ParseUsers(text string) (UserRange, error) {
	first, last, _ := strings.Cut(text, "-")
	from, err1 := strconv.ParseUint(first, 10, 32)
	to, err2 := strconv.ParseUint(last, 10, 32)
	const highest = 1<<32 - 3 // the two above mean nobody, or everybody
	if err1 != nil || err2 != nil || from < 1000 || to > highest || to <= from {
		return UserRange{}, fault.Newf(fault.Invalid, "%.40q is no range of user ids such as %s, from 1000 on and at least two", text, DefaultUsers)
	}
	return UserRange{First: uint32(from), Count: uint32(to - from + 1)}, nil
}

// String returns the range as ParseUsers reads it.
func (r UserRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.First+r.Count-1) }

// probe returns the user of the probe's guest, which no machine gets.
func (r UserRange) probe() uint32 { return r.First + r.Count - 1 }

// overlaps reports whether some of the count ids from first on are in r.
func (r UserRange) overlaps(first, count uint64) bool {
	return first < uint64(r.First)+uint64(r.Count) && uint64(r.First) < first+count
}

// claims are the files of a host that give ids away, and where in a line the
// first of them stands and how many they are, passwd(5), group(5), subuid(5).
var claims = []struct {
	file         string
	first, count int // fields; 0 for a single id
}{
	{"etc/passwd", 2, 0}, {"etc/group", 2, 0}, {"etc/subuid", 1, 2}, {"etc/subgid", 1, 2},
}

// free returns an Invalid fault when somebody on the host whose file system is at
// root has ids of the range.
func (r UserRange) free(root string) error {
	for _, c := range claims {
		path := filepath.Join(root, c.file)
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look for free user ids: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Split(strings.TrimSpace(line), ":")
			if len(fields) <= max(c.first, c.count) {
				continue
			}
			first, err := strconv.ParseUint(fields[c.first], 10, 32)
			count := uint64(1)
			if c.count > 0 && err == nil {
				count, err = strconv.ParseUint(fields[c.count], 10, 32)
			}
			if err == nil && r.overlaps(first, count) {
				return fault.Newf(fault.Invalid, "the user ids %s of VMs overlap with those of %.40q in %s: give others with --vm-uids FIRST-LAST", r, fields[0], path)
			}
		}
	}
	return nil
}

// idle reports whether no process on the host is uid's. A user whose machine has
// ended may have left one, which could reach the next machine that it is.
func idle(uid uint32) bool {
	_, err := unix.Getpriority(unix.PRIO_USER, int(uid))
	return errors.Is(err, unix.ESRCH)
}
