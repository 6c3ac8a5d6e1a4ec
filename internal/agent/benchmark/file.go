package benchmark

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"
)

// file is what the disk is measured on.
type file struct {
	*os.File
	size    int64
	direct  bool
	buffer  []byte // one block, aligned as direct access needs it
	written int64  // bytes that can be read
}

// openFile makes a file without a name: it is gone when it is closed, by
// whatever end of the process.
func openFile(c Config) (*file, error) {
	size, err := room(c)
	if err != nil {
		return nil, err
	}
	f := &file{size: size, direct: true}
	f.File, err = nameless(c.Dir, unix.O_DIRECT)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		f.direct = false
		f.File, err = nameless(c.Dir, 0)
	}
	if err != nil {
		return nil, err
	}
	if f.buffer, err = unix.Mmap(-1, 0, blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return nil, errors.Join(fmt.Errorf("not enough memory free: %w", err), f.Close())
	}
	for i := range f.buffer { // nothing that a disk could shrink
		f.buffer[i] = byte(rand.Uint32()) //nolint:gosec // it is to be noise, not a secret
	}
	return f, nil
}

// room returns how large the file may be.
func room(c Config) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(c.Dir, &fs); err != nil {
		return 0, fmt.Errorf("look at %s: %w", c.Dir, err)
	}
	free := int64(fs.Bavail) * fs.Bsize
	size := min(c.FileBytes, (free-c.Keep)/blockBytes*blockBytes)
	if size < blockBytes {
		return 0, fmt.Errorf("%d MiB are free, which is too little to measure with", free>>20)
	}
	return size, nil
}

// nameless opens a file without a name, or takes its name away at once.
func nameless(dir string, flags int) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC|flags, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir), nil
	}
	if flags != 0 && errors.Is(err, unix.EINVAL) {
		return nil, err
	}
	f, err := os.CreateTemp(dir, ".benchmark-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if flags != 0 {
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, flags); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

func (f *file) close() {
	_, _ = unix.Munmap(f.buffer), f.Close()
}

// forget empties the page cache of the file. It is clean by now.
func (f *file) forget() {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // refused where there is no cache
}
