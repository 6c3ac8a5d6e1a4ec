package fake

import (
	"cmp"
	"context"
	"io"
	"slices"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/serial"
)

// Say has the guest of machine id write to its serial console, if it runs.
func (h *Host) Say(id string, text []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.machines[id]
	if m == nil || m.State != hypervisor.Running {
		return
	}
	m.said = append(m.said, text...)
	m.said = m.said[max(0, len(m.said)-serial.Kept):]
	m.port.Feed(text)
}

// keyboard is what is typed to a guest.
type keyboard struct {
	host *Host
	id   string
}

// Write tells OnType.
func (k keyboard) Write(text []byte) (int, error) {
	if k.host.OnType != nil {
		k.host.OnType(k.id, slices.Clone(text))
	}
	return len(text), nil
}

// Console implements hypervisor.Driver.
func (d *Driver) Console(ctx context.Context, id string) ([]byte, error) {
	m, err := d.console(ctx, id, Console)
	if err != nil {
		return nil, err
	}
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	return slices.Clone(m.said), nil
}

// Attach implements hypervisor.Driver.
func (d *Driver) Attach(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	m, err := d.console(ctx, id, Attach)
	if err != nil {
		return nil, err
	}
	if m.port == nil { // it never ran
		return nil, serial.ErrEnded
	}
	return m.port.Attach()
}

// console returns machine id for an operation on its console.
func (d *Driver) console(ctx context.Context, id string, op Operation) (*machine, error) {
	if err := hypervisor.CheckID(id); err != nil {
		return nil, err
	}
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := cmp.Or(ctx.Err(), h.failures[op]); err != nil {
		return nil, err
	}
	if m := h.machines[id]; m != nil {
		return m, nil
	}
	return nil, fault.Newf(fault.NotFound, "no machine %s", id)
}
