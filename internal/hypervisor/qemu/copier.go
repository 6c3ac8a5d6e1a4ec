package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu/qmp"
)

// The numbers of the files that a copier inherits; those of the disk follow.
const (
	copierFD = 3 + iota // on which it takes commands
	copiedFD
)

// backupIdle copies a disk of a machine that doesn't run: by a QEMU without a guest,
// confined as a machine is, that ends with this process. What the disk says of itself
// is believed no more than it is by a machine.
func (d *Driver) backupIdle(ctx context.Context, id string, b hypervisor.Backup) error {
	d.copier.Lock() // they are all the same user
	defer d.copier.Unlock()
	defer d.machines.lock(id)() // it isn't started meanwhile

	if alive, err := d.alive(id); err != nil || alive {
		return errors.Join(err, fault.New(fault.Unavailable, "the VM was powered on meanwhile"))
	}
	f, err := d.find(ctx, d.remember)
	if err != nil {
		return err
	}
	binary, err := d.binary()
	if err != nil {
		return err
	}
	b.Disk.ReadOnly = true
	open := &fileSet{}
	defer open.close()
	if err := open.openDisks([]hypervisor.Disk{b.Disk}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return d.withCopier(ctx, b.Disk, open.disks, command{binary, TCG, f}, func(s saver, node string) error {
		if err := s.prepare(ctx, node, b.Target); err != nil {
			return err
		}
		if err := s.begin(ctx, node); err != nil {
			return err
		}
		return s.follow(ctx, b)
	})
}

// withCopier runs a copier over the files of disk and ends it after do.
func (d *Driver) withCopier(ctx context.Context, disk hypervisor.Disk, files []*os.File, c command, do func(s saver, node string) error) error {
	runtime.LockOSThread() // as the process is to end with it
	defer runtime.UnlockOSThread()

	near, far, err := pair()
	if err != nil {
		return err
	}
	defer near.Close()                          //nolint:errcheck // it ends by then
	defer far.Close()                           //nolint:errcheck // the copier has its own
	name := "copy." + strconv.Itoa(os.Getpid()) // no machine is called so, and no other process's copier
	cell := d.cell(d.config.Users.probe(), c)
	cell.Limits[unix.RLIMIT_NOFILE] = extraFiles
	if most := fileLimit(disk); most > 0 {
		cell.Limits[unix.RLIMIT_FSIZE] = most
	}
	if c.found.Bounded {
		cell.Admit = func(pid int) error {
			return d.groups.Enter(ctx, name, pid, bounds(hypervisor.Machine{VCPU: 1, RAMGiB: 1}, TCG, d.config.IOWeight))
		}
		defer func() { _ = d.groups.Remove(context.WithoutCancel(ctx), name) }()
	}
	line, node := copierLine(disk)
	said := &head{limit: 4 << 10}
	cmd, err := cell.Command(ctx, d.config.Helper, c.binary, line...)
	if err != nil {
		return err
	}
	cmd.ExtraFiles, cmd.Stderr, cmd.WaitDelay = append([]*os.File{far}, files...), said, time.Second
	if err := keepToOurselves(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = far.Close() // its death is an end of file
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	client, err := qmp.New(ctx, near)
	if err == nil {
		err = do(saver{func(ctx context.Context, do func(context.Context, *qmp.Client) error) error { return do(ctx, client) }}, node)
	}
	if words := lastWords(said.Bytes()); err != nil && words != "" && ctx.Err() == nil {
		err = fmt.Errorf("%w: %s", err, words)
	}
	return err
}

// copierLine returns QEMU's arguments for a copier of disk, and the name of its node.
func copierLine(disk hypervisor.Disk) ([]string, string) {
	a := args{
		"-nodefaults", "-no-user-config", "-display", "none", "-machine", "none", "-S",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", copierFD), "-mon", "chardev=qmp,mode=control",
	}
	fd := copiedFD
	node := a.disk(disk, &fd)
	return a, node
}

// pair returns a connection and the other end of it, for a child.
func pair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	own := os.NewFile(uintptr(fds[0]), "copier")
	defer own.Close() //nolint:errcheck // the connection has its own
	far := os.NewFile(uintptr(fds[1]), "copier")
	near, err := net.FileConn(own)
	if err != nil {
		return nil, nil, errors.Join(err, far.Close())
	}
	return near, far, nil
}
