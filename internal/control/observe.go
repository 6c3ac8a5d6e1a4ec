package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Observe takes an agent's report in: states follow, money follows the states.
// Returns a Conflict fault for a report that isn't newer than the last one, and
// for one by a copy of the server's identity; an Invalid one for an inventory
// that no server has; a Denied one for a server that was removed. What is refused is told on the server's timeline.
func (s *Service) Observe(ctx context.Context, serverID string, r vm.Report) error {
	if err := checkInventory(r.Inventory); err != nil {
		s.refused(ctx, serverID, "inventory", "a report was refused: "+fault.Message(err))
		return err
	}
	var rung []string
	sells := false
	err := s.Store.Write(ctx, func(tx *store.Tx) (err error) {
		rung = nil
		if sells, err = s.hear(ctx, tx, serverID, r); err != nil {
			return err
		}
		vms, err := tx.ServerVMs(ctx, serverID)
		if err != nil {
			return err
		}
		rung, err = s.sight(ctx, tx, serverID, vms, r.VMs)
		sells = sells || tx.Revised() != 0
		return firstErrorOf(
			func() error { return err },
			func() error { return tx.PutSightings(ctx, serverID, r.VMs) },
		)
	})
	if err != nil {
		s.refuse(ctx, serverID, r, err)
		return err
	}
	if sells {
		s.changed(ctx)
	}
	s.ring(ctx, rung...)
	if slices.ContainsFunc(r.VMs, func(seen vm.Sighting) bool { return seen.Elsewhere }) {
		if _, err := s.Sweep(ctx); err != nil {
			s.Log.WarnContext(ctx, "VMs that could not be launched are looked at later", "error", err)
		}
	}
	return nil
}

// sight takes the sightings of a server's VMs in, and returns whom to wake.
func (s *Service) sight(ctx context.Context, tx *store.Tx, serverID string, vms []vm.VM, seen []vm.Sighting) (rung []string, err error) {
	there := make(map[string]vm.VM, len(vms))
	for _, v := range vms {
		there[v.OnServer()] = v
	}
	for _, sighting := range seen {
		v, known := there[sighting.ID]
		delete(there, sighting.ID) // a VM is seen once in a report
		if !known {
			s.Log.WarnContext(ctx, "server holds a VM that nobody asked for", "server_id", serverID, "vm_id", printable(sighting.ID))
			continue
		}
		changed, err := s.observe(ctx, tx, v, sighting)
		if err != nil {
			return nil, err
		}
		if changed {
			rung = append(rung, "vm:"+sighting.ID)
		}
	}
	return rung, nil
}

// observe takes the sighting of one VM in.
func (s *Service) observe(ctx context.Context, tx *store.Tx, v vm.VM, seen vm.Sighting) (changed bool, err error) {
	if seen.Generation > v.Generation {
		return false, nil // a generation that was never given is no report to build on
	}
	for _, step := range seen.Steps[:min(len(seen.Steps), vm.MaxSteps)] {
		if v.KnownAs != "" {
			break // its story goes on elsewhere
		}
		if err := tx.PutEvent(ctx, v.ID, vm.Event{At: step.At, Key: "agent:" + printable(step.Key), Text: printable(step.Text)}); err != nil {
			return false, err
		}
	}
	if v.Goal == vm.Remove {
		return s.observeRemoval(ctx, tx, v, seen)
	}
	before := v
	exports, err := s.observeExports(ctx, tx, &v, seen.Exports)
	if err != nil {
		return false, err
	}
	pinImage(&v, seen)
	know(&v, seen)
	v.Reached = max(v.Reached, seen.Generation)
	s.hearTrouble(&v, seen)
	if cause, ok := seen.Phase.Cause(); ok && (cause != vm.SeenBroken || v.ActivatedAt.IsZero()) { // one that ran keeps its disk
		switch next := vm.Next(v.State, cause); {
		case next == vm.Failed && seen.Elsewhere:
			v.Reason, v.Deadline = printable(seen.Reason), s.Now().UTC() // see giveUp
			return true, tx.UpdateVM(ctx, v)
		case next == vm.Failed:
			return true, s.end(ctx, tx, v, cause, "could not be launched: "+printable(seen.Reason))
		case next == vm.Active && v.State != vm.Active:
			if _, err := s.fulfil(ctx, tx, &v, seen); err != nil {
				return false, err
			}
			return true, s.activate(ctx, tx, v)
		default:
			s.progress(&v, next, seen)
		}
	}
	settled, err := s.settleSize(ctx, tx, &v, seen)
	if err != nil {
		return false, err
	}
	settled = settled || exports
	copied, err := s.sightSnapshots(ctx, tx, &v, seen)
	if err != nil {
		return false, err
	}
	turned, err := s.observeDisks(ctx, tx, &v, seen)
	if err != nil {
		return false, err
	}
	fulfilled, err := s.fulfil(ctx, tx, &v, seen)
	if err != nil {
		return false, err
	}
	if !fulfilled && !settled && !turned && !copied && v.Trouble.Same(before.Trouble) && v.Rescue == before.Rescue && v.Reached == before.Reached && v.State == before.State && v.Reason == before.Reason && v.Spec.ImagePin == before.Spec.ImagePin &&
		len(v.HostKeys) == len(before.HostKeys) {
		return len(seen.Steps) > 0, nil
	}
	return true, tx.UpdateVM(ctx, v)
}

// pinImage remembers what the VM's image was when the first server fetched it:
// wherever the VM is placed from then on, other bytes are refused.
func pinImage(v *vm.VM, seen vm.Sighting) {
	sum, err := vm.ParseChecksum(seen.Image)
	if err == nil && v.Spec.ImagePin == "" && v.Rescue == nil && seen.Disk == v.Disk {
		v.Spec.ImagePin = sum
	}
}

// know remembers the keys by which the VM's SSH server is known, once for each disk that
// it runs on: what is told after that is not believed, because a guest that was
// broken into may print what it likes. Those of a rescue image are not the VM's.
func know(v *vm.VM, seen vm.Sighting) {
	if len(seen.HostKeys) == 0 || seen.Phase != vm.Ready || seen.Disk != v.Boots() || hostkey.Check(seen.HostKeys) != nil {
		return
	}
	if v.Rescue == nil {
		if len(v.HostKeys) == 0 {
			v.HostKeys = seen.HostKeys
		}
		return
	}
	if len(v.Rescue.HostKeys) == 0 {
		r := *v.Rescue
		r.HostKeys = seen.HostKeys
		v.Rescue = &r
	}
}

// hearTrouble notes what the VM's agent could not do yet, and when it tries again.
func (s *Service) hearTrouble(v *vm.VM, seen vm.Sighting) {
	text := printable(seen.Reason)
	if text == "" {
		v.Trouble = vm.Trouble{}
		return
	}
	if v.Trouble.Since.IsZero() {
		v.Trouble.Since = s.Now().UTC()
	}
	v.Trouble.Text, v.Trouble.Retry = text, vm.Retry{}
	if seen.Retry != nil {
		v.Trouble.Retry = *seen.Retry
	}
}

// progress moves a VM that is on its way: any step onward gives it more time.
func (s *Service) progress(v *vm.VM, next vm.State, seen vm.Sighting) {
	now := s.Now().UTC()
	if next != v.State {
		v.State, v.Since = next, now
		v.Deadline = now.Add(s.Launch)
	}
	if v.State.Starting() || v.State == vm.Active { // else billing says why
		v.Reason = printable(seen.Reason)
	}
}

// activate starts a VM's epochs, anew after it was powered off, and charges the
// first of them.
func (s *Service) activate(ctx context.Context, tx *store.Tx, v vm.VM) error {
	now := s.Now().UTC()
	v.State, v.Since, v.Reason, v.Deadline = vm.Next(v.State, vm.SeenReady), now, "", time.Time{}
	line := s.happened("active", now, fmt.Sprintf("active again at %s; an epoch was charged: %s USDC", v.Address, v.Price))
	if v.ActivatedAt.IsZero() {
		v.ActivatedAt = now
		line.Key, line.Text = "active", fmt.Sprintf("active at %s after %s; the first epoch was charged: %s USDC", v.Address, now.Sub(v.CreatedAt).Round(100*time.Millisecond), v.Price)
	}
	v.Wish = ""
	v.Reached = max(v.Reached, 1)
	return firstErrorOf(
		func() error { return s.charge(ctx, tx, &v, now) },
		func() error { return s.forgetUserData(ctx, tx, v) },
		func() error { return tx.UpdateVM(ctx, v) },
		func() error { return tx.PutEvent(ctx, v.ID, line) },
	)
}

// forgetUserData has the agent of a VM that is Active be sent its list anew,
// without the user data, which the store forgets as well.
func (s *Service) forgetUserData(ctx context.Context, tx *store.Tx, v vm.VM) error {
	if v.UserData == "" {
		return nil
	}
	return tx.Revise(ctx, v.ServerID)
}

// observeRemoval frees what a VM took once its agent has seen that nothing is left.
func (s *Service) observeRemoval(ctx context.Context, tx *store.Tx, v vm.VM, seen vm.Sighting) (bool, error) {
	if seen.Phase != vm.Absent || seen.Generation != v.Generation || v.Gone {
		return false, nil
	}
	v.Reached = seen.Generation
	return true, s.leave(ctx, tx, v, "its disk was purged and its place is free again")
}

// leave frees what a VM took of its server: nothing of it is there any more.
func (s *Service) leave(ctx context.Context, tx *store.Tx, v vm.VM, text string) error {
	took := v.Takes()
	v.Gone, v.GoneAt, v.KeptUntil = true, s.Now().UTC(), time.Time{}
	return firstErrorOf(
		func() error { return tx.UpdateVM(ctx, v) },
		func() error { return tx.DropDisks(ctx, v.ID) },
		func() error { return tx.GiveBack(ctx, v.ServerID, took) },
		func() error { return tx.Revise(ctx, v.ServerID) },
		func() error { return tx.DeleteSnapshotsOf(ctx, v.ID) },
		func() error {
			return tx.PutEvent(ctx, v.ID, vm.Event{At: s.Now().UTC(), Key: "removed", Text: text})
		},
	)
}

// printable makes a stranger's text fit to be shown: one line, no control
// characters, at most 500 of them.
func printable(text string) string {
	clean := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, text)
	if runes := []rune(clean); len(runes) > 500 {
		return string(runes[:499]) + "…"
	}
	return clean
}
