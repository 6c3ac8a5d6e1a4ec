package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu/qmp"
)

// clearLimit is how long ending a copy may take, with what it is made through.
const clearLimit = 30 * time.Second

// errEnded is returned for a machine that went while a disk of it was copied.
var errEnded = fault.New(fault.Unavailable, "the VM was powered off meanwhile")

// Backup implements hypervisor.Saver. The machine's own process copies, which is
// confined and has the disk open anyhow; where there is none, one is made that has no guest.
func (d *Driver) Backup(ctx context.Context, id string, b hypervisor.Backup) (hypervisor.Consistency, error) {
	if err := errors.Join(hypervisor.CheckID(id), b.Check()); err != nil {
		return "", err
	}
	defer d.saves.lock(id)()

	alive, err := d.alive(id)
	if err != nil {
		return "", err
	}
	order, err := hypervisor.Crash, error(nil)
	if alive {
		order, err = d.backupRunning(ctx, id, b)
	} else {
		err = d.backupIdle(ctx, id, b)
	}
	if err != nil {
		return "", fmt.Errorf("copy disk %d of machine %s: %w", b.Index, id, err)
	}
	return order, nil
}

func (d *Driver) backupRunning(ctx context.Context, id string, b hypervisor.Backup) (hypervisor.Consistency, error) {
	s := saver{talk: d.monitor(id)}
	defer d.clear(ctx, id, s)
	if err := s.clear(ctx); err != nil { // what an earlier driver left
		return "", err
	}
	node, err := s.nodeOf(ctx, b.Index)
	if err != nil {
		return "", err
	}
	if err := s.prepare(ctx, node, b.Target); err != nil {
		return "", err
	}
	order := hypervisor.Crash
	if b.Freeze && d.freeze(ctx, id) {
		order = hypervisor.FileSystem
	}
	err = s.begin(ctx, node)
	if order == hypervisor.FileSystem && !d.thaw(ctx, id) {
		order = hypervisor.Crash // it did not hold still until then
	}
	if err != nil {
		return "", err
	}
	return order, s.follow(ctx, b)
}

// clear takes away what s has added to machine id, also when ctx has ended. What
// stays is taken away before the next copy, or by the next driver.
func (d *Driver) clear(ctx context.Context, id string, s saver) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearLimit)
	defer cancel()
	if err := s.clear(ctx); err != nil && !errors.Is(err, errEnded) {
		d.config.Log.WarnContext(ctx, "what a disk was copied through stays open", "machine_id", id, "error", err)
	}
}

// monitor returns who gives commands to machine id, which goes on meanwhile to listen to others.
func (d *Driver) monitor(id string) monitor {
	return func(ctx context.Context, do func(context.Context, *qmp.Client) error) error {
		defer d.machines.lock(id)()
		if alive, err := d.alive(id); err != nil || !alive {
			return errors.Join(err, errEnded)
		}
		c, err := d.dial(ctx, id)
		if err == nil {
			err = errors.Join(do(ctx, c), c.Close())
		}
		if err != nil && leaving(err) {
			return errEnded
		}
		return err
	}
}

// tidyAll ends what an earlier driver has left in machines that live: copies that
// nobody waits for, and guests that hold still. It is done beside all else.
func (d *Driver) tidyAll() error {
	ids, err := d.ids()
	if err != nil {
		return err
	}
	for _, id := range ids {
		d.ports.ended.Go(func() { d.tidy(id) })
	}
	return nil
}

func (d *Driver) tidy(id string) {
	ctx, cancel := d.ports.context()
	defer cancel()
	defer d.saves.lock(id)()
	if alive, err := d.alive(id); err != nil || !alive {
		return
	}
	if _, err := d.root.Stat(filepath.Join(id, frozenMark)); !errors.Is(err, fs.ErrNotExist) {
		d.thaw(ctx, id)
	}
	d.clear(ctx, id, saver{talk: d.monitor(id)})
}

// monitor gives commands to a QEMU.
type monitor func(ctx context.Context, do func(context.Context, *qmp.Client) error) error

// execute gives one command.
func (m monitor) execute(ctx context.Context, command string, args, out any) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	return m(ctx, func(ctx context.Context, c *qmp.Client) error { return c.Execute(ctx, command, args, out) })
}

// commandLimit is how long a command may take that waits for a disk.
const commandLimit = 30 * time.Second

// nodeOf returns the name of the node of a running machine's disk.
func (s saver) nodeOf(ctx context.Context, index int) (string, error) {
	var devices []struct {
		QDev     string `json:"qdev"`
		Inserted struct {
			Node string `json:"node-name"`
		} `json:"inserted"`
	}
	if err := s.talk.execute(ctx, "query-block", nil, &devices); err != nil {
		return "", err
	}
	want := "/machine/peripheral/blk" + strconv.Itoa(index) + "/"
	for _, dev := range devices {
		if strings.HasPrefix(dev.QDev, want) && dev.Inserted.Node != "" {
			return dev.Inserted.Node, nil
		}
	}
	return "", fault.Newf(fault.Invalid, "the machine has no disk %d", index)
}
