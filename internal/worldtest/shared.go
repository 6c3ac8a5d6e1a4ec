package worldtest

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// extents is struct fiemap of linux/fiemap.h, with room for some extents.
type extents struct {
	start, length       uint64
	flags, mapped, room uint32
	_                   uint32
	all                 [512]extent
}

type extent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

// Blocks returns how many bytes a file has blocks for, and how many of these it
// shares with others, as the file system itself says.
func Blocks(t *testing.T, path string) (all, shared int64) {
	t.Helper()
	const (
		fiemap     = 0xc020660b // FS_IOC_FIEMAP
		sync       = 1          // FIEMAP_FLAG_SYNC
		extentLast = 1          // FIEMAP_EXTENT_LAST
		extentOne  = 0x2000     // FIEMAP_EXTENT_SHARED
	)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it is only looked at
	for at := uint64(0); ; {
		m := &extents{start: at, length: ^uint64(0) - at, flags: sync}
		m.room = uint32(len(m.all))
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemap, uintptr(unsafe.Pointer(m))); errno != 0 {
			t.Fatalf("extents of %s: %v", path, errno)
		}
		for _, e := range m.all[:m.mapped] {
			at = e.logical + e.length
			all += int64(e.length) //nolint:gosec // of a file
			if e.flags&extentOne != 0 {
				shared += int64(e.length) //nolint:gosec // the same
			}
			if e.flags&extentLast != 0 {
				return all, shared
			}
		}
		if m.mapped == 0 {
			return all, shared
		}
	}
}
