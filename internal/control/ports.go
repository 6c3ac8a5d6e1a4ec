package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// How long a change of ports may wait to be confirmed.
const (
	MinConfirm = 10 * time.Second
	MaxConfirm = 24 * time.Hour
)

// PortChange is what is to be open of one VM.
type PortChange struct {
	Ports   []vm.Port     // the whole set
	Cut     bool          // end the connections through ports that are closed, too
	Confirm time.Duration // change back after it unless ConfirmPorts comes before; 0 to keep
	IfMatch string        // refuse unless this is the VM's PortsTag; "" for any
}

// PortsChanged is what a change of ports comes to.
type PortsChanged struct {
	Ports          []vm.Port
	Opens, Closes  []vm.Port
	Tag            string    // PortsTag after it
	ConfirmedUntil time.Time // when it is changed back; zero for never
}

// SetPorts changes the open ports of the actor's VM. Returns NotFound for an
// unknown, foreign or deleted VM, Invalid for ports or times that can't be, and
// Conflict when the ports are others than whoever asks has seen.
func (s *Service) SetPorts(ctx context.Context, who account.Actor, given string, c PortChange) (PortsChanged, error) {
	ports, err := vm.OpenPorts(c.Ports)
	if err != nil {
		return PortsChanged{}, err
	}
	if c.Confirm != 0 && (c.Confirm < MinConfirm || c.Confirm > MaxConfirm) {
		return PortsChanged{}, fault.Newf(fault.Invalid, "a change of ports is confirmed within %s to %s, not %s", MinConfirm, MaxConfirm, c.Confirm)
	}
	var out PortsChanged
	var rung []string
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		v, err := s.owned(ctx, tx, who, given)
		if err != nil {
			return err
		}
		if err := v.Refuses(vm.SetPorts, nil); err != nil {
			return noVM(v.ID)
		}
		if c.IfMatch != "" && c.IfMatch != v.PortsTag() {
			return fault.Newf(fault.Conflict, "the ports have changed: %s are open now; look at them and try again", portList(v.Spec.Ports))
		}
		out = PortsChanged{Ports: ports, Opens: without(ports, v.Spec.Ports), Closes: without(v.Spec.Ports, ports)}
		if err := s.setPorts(ctx, tx, &v, ports, c); err != nil {
			return err
		}
		out.Tag, out.ConfirmedUntil = v.PortsTag(), v.RevertAt
		rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
		return tx.UpdateVM(ctx, v)
	})
	if err == nil {
		s.ring(ctx, rung...)
	}
	return out, err
}

// setPorts opens ports of v, the whole set, and tells it. The caller stores v.
func (s *Service) setPorts(ctx context.Context, tx *store.Tx, v *vm.VM, ports []vm.Port, c PortChange) error {
	now := s.Now().UTC()
	before, waits := v.Spec.Ports, !v.RevertAt.IsZero()
	if waits {
		before = v.Before // what was never confirmed is nothing to go back to
	}
	changes := !slices.Equal(ports, v.Spec.Ports) || c.Cut
	v.Before, v.RevertAt = nil, time.Time{}
	text := "open ports changed to " + portList(ports)
	if c.Cut {
		text += "; connections through others are to be cut"
	}
	if c.Confirm > 0 && !slices.Equal(ports, before) {
		v.Before, v.RevertAt = before, now.Add(c.Confirm)
		text += fmt.Sprintf("; unless that is confirmed, they are %s again at %s", portList(before), v.RevertAt.Format(time.RFC3339))
	}
	if !changes {
		return nil
	}
	v.Spec.Ports = ports
	v.Generation++
	if c.Cut {
		v.Cut = v.Generation
	}
	return firstErrorOf(
		func() error { return tx.Revise(ctx, v.ServerID) },
		func() error { return tx.PutEvent(ctx, v.ID, s.happened(portsEvent, now, text)) },
	)
}

// without returns those of a that b doesn't have.
func without(a, b []vm.Port) []vm.Port {
	return slices.DeleteFunc(slices.Clone(a), func(p vm.Port) bool { return slices.Contains(b, p) })
}

// ConfirmPorts keeps the ports of the actor's VM as they are. It may be repeated;
// where nothing waits to be confirmed, nothing happens. Returns NotFound for an
// unknown, foreign or deleted VM.
func (s *Service) ConfirmPorts(ctx context.Context, who account.Actor, given string) (PortsChanged, error) {
	var out PortsChanged
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		v, err := s.owned(ctx, tx, who, given)
		if err != nil {
			return err
		}
		if err := v.Refuses(vm.SetPorts, nil); err != nil {
			return noVM(v.ID)
		}
		out = PortsChanged{Ports: v.Spec.Ports, Tag: v.PortsTag()}
		if v.RevertAt.IsZero() {
			return nil
		}
		v.Before, v.RevertAt = nil, time.Time{}
		return firstErrorOf(
			func() error { return tx.UpdateVM(ctx, v) },
			func() error {
				return tx.PutEvent(ctx, v.ID, s.happened(portsEvent, s.Now().UTC(), "open ports confirmed: "+portList(v.Spec.Ports)))
			},
		)
	})
	return out, err
}

// RevertPorts changes ports back whose change was not confirmed in time, and
// returns of how many VMs.
func (s *Service) RevertPorts(ctx context.Context) (reverted int, err error) {
	for {
		var ids []string
		if err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
			ids, err = tx.UnconfirmedVMs(ctx, s.Now(), sweepBatch)
			return err
		}); err != nil || len(ids) == 0 {
			return reverted, err
		}
		for _, vmID := range ids {
			if err := s.revertPorts(ctx, vmID); err != nil {
				return reverted, err
			}
			reverted++
		}
	}
}

func (s *Service) revertPorts(ctx context.Context, vmID string) error {
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		now := s.Now().UTC()
		v, err := tx.VM(ctx, vmID)
		if err != nil || v.RevertAt.IsZero() || v.RevertAt.After(now) {
			return err // it was confirmed in the meantime
		}
		before := v.Before
		v.Before, v.RevertAt = nil, time.Time{}
		if v.State.Ended() {
			return tx.UpdateVM(ctx, v)
		}
		v.Spec.Ports = before
		v.Generation++
		rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
		return firstErrorOf(
			func() error { return tx.UpdateVM(ctx, v) },
			func() error { return tx.Revise(ctx, v.ServerID) },
			func() error {
				return tx.PutEvent(ctx, v.ID, s.happened(portsEvent, now, "open ports changed back to "+portList(before)+": nobody confirmed the change"))
			},
		)
	})
	if err == nil {
		s.ring(ctx, rung...)
	}
	return err
}
