package qemu

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

// fileSet is what a machine's process inherits, but for the network card.
type fileSet struct {
	lock, qmp, serial, agent *os.File
	disks                    []*os.File
}

// openFiles locks dir, makes the sockets in it and opens m's disks.
func openFiles(dir *os.Root, m hypervisor.Machine) (*fileSet, error) {
	s := &fileSet{}
	err := func() (err error) {
		if s.lock, err = hold(dir); err != nil {
			return err
		}
		if s.qmp, err = listen(dir, qmpSocket); err != nil {
			return fmt.Errorf("make the command socket: %w", err)
		}
		if s.serial, err = listen(dir, serialSocket); err != nil {
			return fmt.Errorf("make the console's socket: %w", err)
		}
		if s.agent, err = listen(dir, agentSocket); err != nil {
			return fmt.Errorf("make the guest agent's socket: %w", err)
		}
		return s.openDisks(m.Disks)
	}()
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// openDisks opens disks, each before what it lies on.
func (s *fileSet) openDisks(disks []hypervisor.Disk) error {
	for _, d := range disks {
		for next := &d; next != nil; next = next.Backing {
			f, err := openDisk(*next, next != &d)
			if err != nil {
				return err
			}
			s.disks = append(s.disks, f)
		}
	}
	return nil
}

// inherited returns the files in the order of their numbers in args.go.
func (s *fileSet) inherited(nic *os.File) []*os.File {
	return append([]*os.File{s.lock, s.qmp, s.serial, s.agent, nic}, s.disks...)
}

// close closes the files here. It may be called twice.
func (s *fileSet) close() {
	for _, f := range s.inherited(nil) {
		if f != nil {
			_ = f.Close()
		}
	}
}

// openDisk opens what must be a plain file or a block device, for reading only
// if it is to be read only or lies below.
func openDisk(d hypervisor.Disk, below bool) (*os.File, error) {
	mode := os.O_RDWR
	if d.ReadOnly || below {
		mode = os.O_RDONLY
	}
	// Without O_NONBLOCK, opening a pipe would wait for its other end.
	f, err := os.OpenFile(d.Path, mode|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open disk: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && info.Mode().Type() != os.ModeDevice {
		err = fault.Newf(fault.Invalid, "disk %s is neither a file nor a block device", d.Path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// The sockets in a machine's folder.
const (
	qmpSocket    = "qmp"
	serialSocket = "serial"
	agentSocket  = "agent"
)

// listen makes a socket in dir, in place of an old one.
func listen(dir *os.Root, name string) (*os.File, error) {
	if err := dir.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	err = func() error {
		if err := unix.Fchmod(fd, 0o600); err != nil { // becomes the mode of the file that bind makes
			return err
		}
		return within(dir, name, func(path string) error {
			if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
				return err
			}
			return unix.Listen(fd, 8)
		})
	}()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// connect calls dial with a path of the socket called name of machine id. It
// returns a fault for anything that is no socket, such as a link to another one.
func (d *Driver) connect(id, name string, dial func(path string) error) error {
	dir, err := d.root.OpenRoot(id)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return within(dir, name, func(path string) error {
		info, err := dir.Lstat(name)
		if err != nil {
			return err
		}
		if info.Mode().Type() != os.ModeSocket {
			return fault.Newf(fault.Internal, "the socket %s is no socket", name)
		}
		return dial(path)
	})
}

// within calls do with a path of the file called name in dir that is short
// enough for a socket address (108 bytes), however deep dir lies.
func within(dir *os.Root, name string, do func(path string) error) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return do(fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), name))
}
