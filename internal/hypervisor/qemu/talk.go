package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu/qmp"
)

// Shutdown implements hypervisor.Driver by the ACPI power button.
func (d *Driver) Shutdown(ctx context.Context, id string) error {
	return d.press(ctx, id, "system_powerdown")
}

// Reset implements hypervisor.Driver.
func (d *Driver) Reset(ctx context.Context, id string) error {
	return d.press(ctx, id, "system_reset")
}

// press presses a button of machine id, unless it doesn't run.
func (d *Driver) press(ctx context.Context, id, button string) error {
	if err := hypervisor.CheckID(id); err != nil {
		return err
	}
	defer d.machines.lock(id)()

	alive, err := d.alive(id)
	if err != nil || !alive {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, talkLimit)
	defer cancel()
	c, err := d.dial(ctx, id)
	if err == nil {
		err = errors.Join(c.Execute(ctx, button, nil, nil), c.Close())
	}
	if err != nil && !leaving(err) { // or it went by itself meanwhile, though its process may be there still
		return fmt.Errorf("%s of machine %s: %w", button, id, err)
	}
	return nil
}

// quit asks QEMU to end the guest and itself.
func (d *Driver) quit(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, quitLimit)
	defer cancel()
	c, err := d.dial(ctx, id)
	if err != nil {
		return err
	}
	err = c.Execute(ctx, "quit", nil, nil)
	if errors.Is(err, io.EOF) {
		err = nil // it was faster than its answer
	}
	return errors.Join(err, c.Close())
}

// dial connects to the QEMU of machine id.
func (d *Driver) dial(ctx context.Context, id string) (c *qmp.Client, err error) {
	err = d.connect(id, qmpSocket, func(path string) error {
		c, err = qmp.Dial(ctx, path)
		return err
	})
	return c, err
}

// leaving reports whether an error is that of a QEMU which ends: it talks to
// nobody any more, a moment before its process is gone.
func leaving(err error) bool {
	for _, sign := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, fs.ErrNotExist, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}
