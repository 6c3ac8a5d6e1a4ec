package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// quota counts the bytes that the files of a cache take on the disk.
type quota struct {
	used atomic.Int64
	most int64
}

// take counts n more bytes. It returns an Unavailable fault when there is no
// room for them.
func (q *quota) take(n int64) error {
	if q.used.Add(n) > q.most {
		q.used.Add(-n)
		return errNoRoom
	}
	return nil
}

// What ends a fetch for want of space.
var (
	errNoRoom   = fault.New(fault.Unavailable, "the server has no room for another image at the moment")
	errDiskFull = fault.New(fault.Unavailable, "the server's disk is full at the moment")
)

// give counts n bytes less.
func (q *quota) give(n int64) { q.used.Add(-n) }

// file is a file of the cache that is being written. Zeroes become holes.
type file struct {
	*os.File
	root  *os.Root
	name  string
	quota *quota
	taken int64     // of the quota
	size  int64     // written by Write so far
	hash  hash.Hash // of what was given to Write
}

// create makes a new file that nobody else can read.
func create(root *os.Root, name string, q *quota) (*file, error) {
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create image file: %w", err)
	}
	return &file{File: f, root: root, name: name, quota: q, hash: sha256.New()}, nil
}

// adopt takes over a file that an attempt before has left; taken is what it
// takes of the quota already.
func adopt(f *os.File, root *os.Root, name string, q *quota, taken int64) *file {
	return &file{File: f, root: root, name: name, quota: q, taken: taken, hash: sha256.New()}
}

// Write appends p and hashes it.
func (f *file) Write(p []byte) (int, error) {
	f.hash.Write(p)
	n, err := f.WriteAt(p, f.size)
	f.size += int64(n)
	return n, err
}

const block = 64 << 10

var zeroBlock = make([]byte, block)

// WriteAt writes p at off, where nothing was written before. Blocks of zeroes
// are left out.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		part := p[done:min(len(p), done+int(block-at%block))]
		if !bytes.Equal(part, zeroBlock[:len(part)]) {
			if err := f.quota.take(int64(len(part))); err != nil {
				return done, err
			}
			f.taken += int64(len(part))
			if _, err := f.File.WriteAt(part, at); err != nil {
				return done, writeError(err)
			}
		}
		done += len(part)
	}
	return done, nil
}

// writeError makes a fault of what waiting can heal.
func writeError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errDiskFull
	}
	return fmt.Errorf("write image file: %w", err)
}

// digest of what was given to Write.
func (f *file) digest() string { return hex.EncodeToString(f.hash.Sum(nil)) }

// keep makes the file size bytes long, unchangeable and durable, and gives it
// its final name.
func (f *file) keep(name string, size int64) error {
	err := f.Truncate(size)
	if err == nil {
		err = f.Chmod(0o444)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.root.Rename(f.name, name)
	}
	if err != nil {
		return writeError(err)
	}
	f.taken = 0
	return errors.Join(f.Close(), syncDir(f.root))
}

// discard removes the file, unless it was kept.
func (f *file) discard() {
	if f.Close() == nil { // a kept file is closed already
		f.quota.give(f.taken)
		_ = f.root.Remove(f.name) // what can't be removed now is removed when the cache is opened
	}
}

// suspend closes the file and leaves it, counted as what it takes on the disk.
func (f *file) suspend() {
	if f.Close() != nil {
		return
	}
	n := takenBy(f.root, f.name)
	f.quota.used.Add(n - f.taken)
	f.taken = 0
}

// takenBy returns how many bytes of the disk a file takes, which is less than
// its size if it has holes.
func takenBy(root *os.Root, name string) int64 {
	info, err := root.Lstat(name)
	if err != nil {
		return 0
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// syncDir makes renames in root durable.
func syncDir(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
