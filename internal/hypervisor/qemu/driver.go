// Package qemu runs machines with QEMU.
//
// Each machine is one process that belongs to nobody: it has its own session
// and, where the agent is root, its own user. It is given open files only, no
// path. Its folder holds
//
//	lock          locked by an open file that the process inherits: while it
//	              is locked the machine lives, whatever else is known
//	machine.json  what is known of the machine, see record
//	qmp           the socket on which QEMU takes commands
//	qemu.log      what QEMU says on standard error, seldom anything
//	serial        the socket on which QEMU carries the serial console
//	agent         the socket on which an agent inside the guest may answer
//	frozen        is there from before the guest is asked to hold still until it has been asked to go on
//	serial.log    the latest of the serial console, a serial.Log
package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/cgroup"
	"github.com/cpucloud/cpucloud/internal/hypervisor/confine"
)

const (
	startLimit = time.Minute      // for QEMU to answer its first command, on a busy host
	quitLimit  = 2 * time.Second  // for QEMU to write back what it caches
	killLimit  = 10 * time.Second // for the kernel to take a killed process away
	talkLimit  = 5 * time.Second  // for any other conversation
)

// Config says how machines are run.
type Config struct {
	Dir         string      // the driver's own folder, made if missing
	Binary      string      // name or path of QEMU, "qemu-system-x86_64" if empty
	Accelerator Accelerator // Auto if empty
	Users       UserRange   // whose processes the machines are, if the agent is root
	IOWeight    int         // of each machine among others at the host's disks, 1 to 10000; the usual 100 if 0
	Helper      []string    // calls confine.Main in this program; itself with confine.Helper if empty
	Now         func() time.Time
	Log         *slog.Logger
}

// Driver runs machines with QEMU.
type Driver struct {
	config   Config
	root     *os.Root
	groups   cgroup.Groups
	trouble  error      // why systemd, which runs, doesn't make them
	machines keyed      // one operation on a machine at a time
	users    sync.Mutex // held from choosing a user id to recording it
	saves    keyed      // one copy of a machine's disk at a time
	copier   sync.Mutex // one machine's at a time of those that don't run
	ports    *ports
	meters   meters
	probe    struct {
		sync.Mutex
		found *found
	}
}

var _ hypervisor.Driver = (*Driver)(nil)

// New returns a driver over c.Dir, whose machines it finds again, and listens to
// their consoles. It starts nothing. ctx is for what it asks of the host. Returns an
// Invalid fault when others have user ids of c.Users.
func New(ctx context.Context, c Config) (*Driver, error) {
	if c.Binary == "" {
		c.Binary = "qemu-system-x86_64"
	}
	if c.Accelerator == "" {
		c.Accelerator = Auto
	}
	if len(c.Helper) == 0 {
		c.Helper = []string{"/proc/self/exe", confine.Helper}
	}
	if c.Users == (UserRange{}) {
		c.Users = DefaultUsers
	}
	if os.Getuid() == 0 {
		if err := c.Users.free("/"); err != nil {
			return nil, err
		}
	}
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, fmt.Errorf("find the hypervisor's folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(c.Dir, rootDir), 0o700); err != nil {
		return nil, fmt.Errorf("make the hypervisor's folder: %w", err)
	}
	root, err := os.OpenRoot(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the hypervisor's folder: %w", err)
	}
	sum := sha256.Sum256([]byte(c.Dir)) // agents over other folders have other groups
	groups, trouble, err := cgroup.Choose(ctx, "/", hex.EncodeToString(sum[:6]))
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	d := &Driver{config: c, root: root, groups: groups, trouble: trouble, ports: newPorts()}
	return d, errors.Join(d.sweep(ctx), d.listenToAll(), d.tidyAll()) //nolint:contextcheck // it goes on beside all else
}

// Close lets go of the consoles of all machines, which run on.
func (d *Driver) Close() { d.ports.close() }

// sweep removes the control groups of machines that have no folder any more: a
// crash came between.
func (d *Driver) sweep(ctx context.Context) error {
	if os.Getuid() != 0 {
		return nil
	}
	ids, err := d.ids()
	if err != nil {
		return err
	}
	if err := d.groups.Sweep(ctx, func(id string) bool { return slices.Contains(ids, id) }); err != nil {
		d.config.Log.WarnContext(ctx, "control groups of machines that are gone stay", "error", err)
	}
	return nil
}

// Ensure implements hypervisor.Driver. It returns when QEMU runs the guest.
func (d *Driver) Ensure(ctx context.Context, m hypervisor.Machine) error {
	if m.NIC.File != nil {
		defer func() { _ = m.NIC.File.Close() }()
	}
	if err := hypervisor.CheckID(m.ID); err != nil {
		return err
	}
	defer d.machines.lock(m.ID)()

	if alive, err := d.alive(m.ID); err != nil || alive {
		return err
	}
	if err := m.Check(); err != nil {
		return err
	}
	f, err := d.find(ctx, d.remember)
	if err != nil {
		return err
	}
	begun := d.config.Now()
	if err := d.start(ctx, m, f); err != nil {
		return fmt.Errorf("start machine %s: %w", m.ID, err)
	}
	d.config.Log.InfoContext(ctx, "machine started", "machine_id", m.ID, "took", d.config.Now().Sub(begun))
	return nil
}

// List implements hypervisor.Driver.
func (d *Driver) List(_ context.Context) ([]hypervisor.Instance, error) {
	ids, err := d.ids()
	if err != nil {
		return nil, err
	}
	list := make([]hypervisor.Instance, 0, len(ids))
	for _, id := range ids {
		in, err := d.look(id)
		if errors.Is(err, fs.ErrNotExist) { // destroyed meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at machine %s: %w", id, err)
		}
		list = append(list, in)
	}
	return list, nil
}

// Destroy implements hypervisor.Driver. When it returns nil the process is
// gone, and nobody has the disks open.
func (d *Driver) Destroy(ctx context.Context, id string) error {
	if err := hypervisor.CheckID(id); err != nil {
		return err
	}
	defer d.machines.lock(id)()

	alive, err := d.alive(id)
	if err != nil {
		return err
	}
	if alive {
		if err := d.end(ctx, id); err != nil {
			return fmt.Errorf("end machine %s: %w", id, err)
		}
		d.config.Log.InfoContext(ctx, "machine destroyed", "machine_id", id)
	}
	if os.Getuid() == 0 {
		if err := d.groups.Remove(ctx, id); err != nil {
			return err
		}
	}
	if err := d.forget(id); err != nil {
		return fmt.Errorf("remove the folder of machine %s: %w", id, err)
	}
	return nil
}

// gone ends the name of a folder that is being removed. No id contains a dot.
const gone = ".gone"

// forget removes the folder of machine id, all of it at once for any onlooker.
func (d *Driver) forget(id string) error {
	if err := d.root.RemoveAll(id + gone); err != nil { // of a Destroy that was interrupted
		return err
	}
	err := d.root.Rename(id, id+gone)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, d.root.RemoveAll(id+gone))
}

// ids returns the machines that have a folder, sorted.
func (d *Driver) ids() ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && hypervisor.CheckID(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	slices.SortFunc(ids, strings.Compare)
	return ids, nil
}

// look says how machine id is, without waiting for operations on it.
func (d *Driver) look(id string) (hypervisor.Instance, error) {
	alive, err := d.alive(id)
	if err != nil {
		return hypervisor.Instance{}, err
	}
	rec, err := d.read(id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		rec.Reason = "its record can't be read" // which must not hide the other machines
	}
	if alive {
		return hypervisor.Instance{ID: id, State: hypervisor.Running, Started: rec.Started}, nil
	}
	if _, err := d.root.Stat(id); err != nil {
		return hypervisor.Instance{}, err
	}
	return hypervisor.Instance{ID: id, State: hypervisor.Exited, Reason: d.reason(id, rec)}, nil
}

// end makes the living process of machine id go away.
func (d *Driver) end(ctx context.Context, id string) error {
	p, err := d.process(id)
	var h *handle
	if err == nil {
		h, err = p.open()
	}
	if errors.Is(err, errGone) {
		if alive, lockErr := d.alive(id); !alive && lockErr == nil {
			return nil // it went by itself meanwhile
		}
	}
	if err != nil {
		return err
	}
	defer h.close()

	if d.quit(ctx, id) == nil && h.gone(ctx, quitLimit) {
		return nil
	}
	if err := h.kill(); err != nil {
		return err
	}
	if !h.gone(ctx, killLimit) {
		return errors.Join(fault.New(fault.Unavailable, "the machine's process doesn't go away"), ctx.Err())
	}
	return nil
}

// keyed is a set of locks that are made when they are asked for.
type keyed struct {
	mu    sync.Mutex
	locks map[string]*counted
}

type counted struct {
	sync.Mutex
	users int
}

// lock takes the lock named key and returns the function that gives it back.
func (k *keyed) lock(key string) func() {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*counted{}
	}
	l := k.locks[key]
	if l == nil {
		l = &counted{}
		k.locks[key] = l
	}
	l.users++
	k.mu.Unlock()

	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.locks, key)
		}
	}
}
