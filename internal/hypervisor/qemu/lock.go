package qemu

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The lock is one of the open file description: the process that inherits the
// file inherits the lock, and the kernel gives it up when the last one is
// gone. So it tells the truth after a crash of the agent at any point, also
// between the start of a process and the note of its number. Unlike flock(2),
// it can be looked at without being taken.

// errHeld is returned for a lock that somebody else holds.
var errHeld = errors.New("the machine runs already")

// alive reports whether the process of machine id exists.
func (d *Driver) alive(id string) (bool, error) {
	f, err := d.root.Open(filepath.Join(id, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	l := wholeFile()
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		return false, fmt.Errorf("look at the lock: %w", err)
	}
	return l.Type != unix.F_UNLCK, nil
}

// hold returns the locked file in dir. It is locked until every process that
// has it open has closed it.
func hold(dir *os.Root) (*os.File, error) {
	f, err := dir.OpenFile("lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := wholeFile()
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		err = errHeld
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func wholeFile() unix.Flock_t {
	return unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
}
