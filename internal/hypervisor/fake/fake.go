// Package fake runs machines that exist in memory alone, for tests.
package fake

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/serial"
)

// Host is the hardware: what survives the agent. Its fields are set before
// the first driver is made; its methods may be called at any time.
type Host struct {
	Now   func() time.Time
	Facts hypervisor.Facts

	// OnStart, if set, is called before a machine runs; its error keeps it from
	// starting. It mustn't call the host.
	OnStart func(hypervisor.Machine) error
	// OnShutdown, if set, is called when the guest of a machine is asked to power
	// itself off, and says whether it does. It may call the host.
	OnShutdown func(hypervisor.Machine) bool
	// OnEnd, if set, is called after a machine has ended.
	OnEnd func(id string)
	// OnType, if set, is called with what is typed to a guest. It may call the host.
	OnType func(id string, text []byte)
	// OnBackup, if set, is called while a disk of a machine is copied; its error ends that. It may call the host.
	OnBackup func(ctx context.Context, id string, b hypervisor.Backup) error
	// Freezes says that agents in guests answer.
	Freezes bool

	saving   sync.Mutex
	mu       sync.Mutex
	machines map[string]*machine
	failures map[Operation]error
	starts   int
}

// Operation is a method of the driver.
type Operation string

// The operations that can be made to fail.
const (
	Probe    Operation = "probe"
	Ensure   Operation = "ensure"
	List     Operation = "list"
	Shutdown Operation = "shutdown"
	Reset    Operation = "reset"
	Destroy  Operation = "destroy"
	Console  Operation = "console"
	Attach   Operation = "attach"
	Usage    Operation = "usage"
	Backup   Operation = "backup"
)

type machine struct {
	hypervisor.Instance
	wanted hypervisor.Machine
	nic    *os.File // as long as it runs
	start  int      // which start of the host's this was, from 1
	resets int      // since then
	port   *serial.Port
	said   []byte // the end of what the guest wrote
	used   hypervisor.Usage
}

// NewHost returns a host without machines.
func NewHost(now func() time.Time) *Host {
	return &Host{
		Now:      now,
		Facts:    hypervisor.Facts{Version: "1.0", Accelerator: "tcg", Reason: "nothing is accelerated"},
		machines: map[string]*machine{},
		failures: map[Operation]error{},
	}
}

// Fail makes operation op return err from now on, before it does anything. A
// nil err ends that.
func (h *Host) Fail(op Operation, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures[op] = err
}

// Kill ends machine id, if it runs, for a reason.
func (h *Host) Kill(id, reason string) {
	h.mu.Lock()
	m := h.machines[id]
	ended := m != nil && m.end(reason)
	h.mu.Unlock()
	if ended && h.OnEnd != nil {
		h.OnEnd(id)
	}
}

// Resets returns how often machine id was reset since it was started.
func (h *Host) Resets(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.machines[id]; m != nil {
		return m.resets
	}
	return 0
}

// Restart ends all machines, as a power cut does.
func (h *Host) Restart() {
	h.mu.Lock()
	ids := slices.Sorted(maps.Keys(h.machines))
	h.mu.Unlock()
	for _, id := range ids {
		h.Kill(id, "the host was restarted")
	}
}

// Machine returns what machine id was last started with, and which of the
// host's starts that was, from 1. It returns 0 for one that doesn't run.
func (h *Host) Machine(id string) (hypervisor.Machine, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.machines[id]
	if m == nil || m.State != hypervisor.Running {
		return hypervisor.Machine{}, 0
	}
	return m.wanted, m.start
}

// end reports whether m ran. The host is locked.
func (m *machine) end(reason string) bool {
	if m.State != hypervisor.Running {
		return false
	}
	m.State, m.Reason, m.Started = hypervisor.Exited, reason, time.Time{}
	_ = m.nic.Close()
	m.port.End()
	return true
}

// Driver is an agent's hold on a host.
type Driver struct{ host *Host }

var _ hypervisor.Driver = (*Driver)(nil)

// New returns a driver over h, which finds its machines again.
func New(h *Host) *Driver { return &Driver{h} }

// Probe implements hypervisor.Driver.
func (d *Driver) Probe(ctx context.Context) (hypervisor.Facts, error) {
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.Facts, cmp.Or(ctx.Err(), h.failures[Probe])
}

// Ensure implements hypervisor.Driver. Like the real one it needs disks that
// exist, and keeps the plug of the card while the machine runs.
func (d *Driver) Ensure(ctx context.Context, m hypervisor.Machine) error {
	if m.NIC.File != nil {
		defer func() { _ = m.NIC.File.Close() }()
	}
	if err := hypervisor.CheckID(m.ID); err != nil {
		return err
	}
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := cmp.Or(ctx.Err(), h.failures[Ensure]); err != nil {
		return err
	}
	if old := h.machines[m.ID]; old != nil && old.State == hypervisor.Running {
		return nil
	}
	if err := m.Check(); err != nil {
		return err
	}
	fresh := &machine{wanted: m, Instance: hypervisor.Instance{ID: m.ID, State: hypervisor.Exited}}
	if old := h.machines[m.ID]; old != nil {
		fresh.said = old.said
	}
	h.machines[m.ID] = fresh
	if err := h.start(fresh); err != nil {
		fresh.Reason = "it did not start: " + err.Error()
		return fmt.Errorf("start machine %s: %w", m.ID, err)
	}
	return nil
}

// start makes m run. The host is locked.
func (h *Host) start(m *machine) error {
	for _, disk := range m.wanted.Disks {
		for next := &disk; next != nil; next = next.Backing {
			if _, err := os.Stat(next.Path); err != nil {
				return fmt.Errorf("open disk: %w", err)
			}
		}
	}
	if h.OnStart != nil {
		if err := h.OnStart(m.wanted); err != nil {
			return err
		}
	}
	fd, err := unix.FcntlInt(m.wanted.NIC.File.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fault.New(fault.Invalid, "the network card's file isn't open")
	}
	m.nic = os.NewFile(uintptr(fd), "nic")
	m.wanted.NIC.File = nil
	h.starts++
	m.port = serial.NewPort()
	m.port.Connect(keyboard{h, m.ID})
	m.used = booted
	m.start, m.State, m.Started = h.starts, hypervisor.Running, h.Now()
	return nil
}

// List implements hypervisor.Driver.
func (d *Driver) List(ctx context.Context) ([]hypervisor.Instance, error) {
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := cmp.Or(ctx.Err(), h.failures[List]); err != nil {
		return nil, err
	}
	list := make([]hypervisor.Instance, 0, len(h.machines))
	for _, id := range slices.Sorted(maps.Keys(h.machines)) {
		list = append(list, h.machines[id].Instance)
	}
	return list, nil
}

// Shutdown implements hypervisor.Driver. A guest obeys unless OnShutdown knows better.
func (d *Driver) Shutdown(ctx context.Context, id string) error {
	if err := hypervisor.CheckID(id); err != nil {
		return err
	}
	h := d.host
	h.mu.Lock()
	err := cmp.Or(ctx.Err(), h.failures[Shutdown])
	h.mu.Unlock()
	if err != nil {
		return err
	}
	if m, start := h.Machine(id); start > 0 && (h.OnShutdown == nil || h.OnShutdown(m)) {
		h.Kill(id, "the guest powered off")
	}
	return nil
}

// Reset implements hypervisor.Driver.
func (d *Driver) Reset(ctx context.Context, id string) error {
	if err := hypervisor.CheckID(id); err != nil {
		return err
	}
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := cmp.Or(ctx.Err(), h.failures[Reset]); err != nil {
		return err
	}
	if m := h.machines[id]; m != nil && m.State == hypervisor.Running {
		m.resets++
	}
	return nil
}

// Destroy implements hypervisor.Driver.
func (d *Driver) Destroy(ctx context.Context, id string) error {
	if err := hypervisor.CheckID(id); err != nil {
		return err
	}
	h := d.host
	h.mu.Lock()
	err := cmp.Or(ctx.Err(), h.failures[Destroy])
	h.mu.Unlock()
	if err != nil {
		return err
	}
	h.Kill(id, "it was destroyed")
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.machines, id)
	return nil
}
