package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/confine"
)

// start starts machine m, which is known not to live, and returns when it
// runs. After an error nothing runs, and the record says why.
func (d *Driver) start(ctx context.Context, m hypervisor.Machine, f found) error {
	binary, err := d.binary()
	if err != nil {
		return err
	}
	if err := d.root.Mkdir(m.ID, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := d.root.OpenRoot(m.ID)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	rec, err := d.enlist(m.ID)
	if err != nil {
		return err
	}
	if err := d.launch(ctx, dir, m, rec, command{binary, Accelerator(f.Accelerator), f}); err != nil {
		rec.Reason = "it did not start: " + err.Error()
		return errors.Join(err, d.write(m.ID, rec))
	}
	return nil
}

// command is what runs machines.
type command struct {
	binary string
	accel  Accelerator
	found  found
}

// launch makes the process, notes it, and waits for it to run the guest.
func (d *Driver) launch(ctx context.Context, dir *os.Root, m hypervisor.Machine, rec record, c command) error {
	open, err := openFiles(dir, m)
	if err != nil {
		return err
	}
	defer open.close()
	log, err := dir.OpenFile("qemu.log", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()

	// The machine outlives the order to start it.
	cmd, err := d.cellOf(ctx, m, rec.UID, c).Command(context.WithoutCancel(ctx), d.config.Helper, c.binary, commandLine(m, c.accel)...)
	if err != nil {
		return err
	}
	cmd.ExtraFiles = open.inherited(m.NIC.File)
	cmd.Stdout, cmd.Stderr = log, log
	if err := keepToOurselves(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	rec.Process, err = processOf(cmd.Process.Pid)
	exited := make(chan struct{})
	go d.watch(cmd, m.ID, rec, exited)
	if err == nil {
		err = d.write(m.ID, rec)
	}
	open.close() // from here on QEMU's death is an end of file on its sockets
	if err == nil {
		err = d.listenTo(m.ID) // before it says anything
	}
	if err == nil {
		err = d.await(ctx, m)
	}
	if err == nil {
		return nil
	}
	if endedItself(cmd, exited) {
		return nil // it ran: its guest powered off at once
	}
	if ctx.Err() == nil {
		err = fault.New(fault.Internal, withWords("QEMU does not run", withWords(err.Error(), d.said(m.ID))))
	}
	return err
}

// endedItself ends a machine that couldn't be asked whether it runs, and reports
// whether that was because its guest had powered off by then.
func endedItself(cmd *confine.Cmd, exited <-chan struct{}) bool {
	timer := time.NewTimer(endLimit)
	defer timer.Stop()
	select {
	case <-exited:
	case <-timer.C:
		_ = cmd.Process.Kill()
		<-exited
	}
	return cmd.ProcessState.Success()
}

// endLimit is how long a process that closed its sockets may take to end.
const endLimit = time.Second

// keepToOurselves keeps processes that are started from inheriting files that
// the agent itself has inherited, such as sockets from systemd. Those that it
// opened are kept anyhow, and those that a process is given are unaffected.
func keepToOurselves() error {
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep inherited files: %w", err)
	}
	return nil
}

// await returns when QEMU runs the guest, with an error when it doesn't come to that.
func (d *Driver) await(ctx context.Context, m hypervisor.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	c, err := d.dial(ctx, m.ID)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	var status struct{ Status string }
	if err := c.Execute(ctx, "query-status", nil, &status); err != nil {
		return err
	}
	if status.Status != "running" {
		return fmt.Errorf("the guest is in state %.40q", status.Status)
	}
	return grow(ctx, c, m)
}

// watch takes the dead process away when its time has come, and notes why it ended.
func (d *Driver) watch(cmd *confine.Cmd, id string, begun record, exited chan<- struct{}) {
	_ = cmd.Wait() // what there is to know is in ProcessState
	close(exited)
	defer d.machines.lock(id)()

	now, err := d.read(id)
	if err != nil || now.Process != begun.Process || now.Reason != "" {
		return // destroyed, started again, or noted already
	}
	now.Reason = ending(cmd.ProcessState, d.said(id))
	if err := d.write(id, now); err != nil {
		d.config.Log.Error("cannot note why a machine ended", "machine_id", id, "error", err)
	}
	d.config.Log.Info("machine ended", "machine_id", id, "reason", now.Reason)
}

// ending says how a process ended whose last words are given.
func ending(s *os.ProcessState, words string) string {
	if s.Success() && words == "" {
		return "the guest powered off"
	}
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return withWords("its process was killed by signal "+w.Signal().String(), words)
	}
	return withWords("QEMU ended with "+s.String(), words)
}
