package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu/qmp"
)

// Console implements hypervisor.Driver. QEMU keeps the newest in memory; each call
// takes that over into a file.
func (d *Driver) Console(ctx context.Context, id string) ([]byte, error) {
	if err := hypervisor.CheckID(id); err != nil {
		return nil, err
	}
	defer d.machines.lock(id)()

	if _, err := d.root.Stat(id); err != nil {
		return nil, fault.Newf(fault.NotFound, "no machine %s", id)
	}
	seen, err := d.root.ReadFile(filepath.Join(id, "console"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	alive, err := d.alive(id)
	if err != nil || !alive {
		return seen, err
	}
	fresh, err := d.drain(ctx, id)
	if err != nil || len(fresh) == 0 {
		return seen, err
	}
	seen = append(seen, fresh...)
	seen = seen[max(0, len(seen)-consoleSize):]
	return seen, writeFile(d.root, filepath.Join(id, "console"), seen)
}

// drain takes what is in QEMU's memory of the console. A guest that writes
// faster than that is read no longer than the memory is large.
func (d *Driver) drain(ctx context.Context, id string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, talkLimit)
	defer cancel()
	c, err := d.dial(ctx, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()

	const piece = 64 << 10
	var text []byte
	for range consoleSize / piece {
		var part []byte // encoding/json undoes the base64
		ask := map[string]any{"device": "serial", "size": piece, "format": "base64"}
		if err := c.Execute(ctx, "ringbuf-read", ask, &part); err != nil {
			return nil, err
		}
		text = append(text, part...)
		if len(part) < piece {
			break
		}
	}
	return text, nil
}

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
	dir, err := d.root.OpenRoot(id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	err = within(dir, "qmp", func(path string) error {
		info, err := dir.Lstat("qmp")
		if err != nil {
			return err
		}
		if info.Mode().Type() != os.ModeSocket {
			return fault.New(fault.Internal, "the command socket is no socket")
		}
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
