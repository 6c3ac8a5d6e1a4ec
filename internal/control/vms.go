package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// VM is a VM with where it is and what it runs on.
type VM struct {
	vm.VM
	Datacenter market.Datacenter
	Hardware   capacity.Hardware
	// UnreachableSince is when its server was heard last, once that is too long
	// ago; zero while it is heard. The VM is as it was seen then.
	UnreachableSince time.Time
	// DrainedAt is when its provider will end it with all that is on its server;
	// zero when that is not planned.
	DrainedAt time.Time
	// Waits are what it waits for, what is over first coming first.
	Waits    []vm.Wait
	Payment  *Payment   // nil unless it waits for money
	Timeline []vm.Event // oldest first; only of a VM that was asked for alone
}

// VMFilter narrows a list of VMs; the zero value of a member doesn't.
type VMFilter struct {
	IDs          []string // unknown and foreign ones are left out
	States       []vm.State
	Datacenter   string // slug; an unknown one matches nothing
	EndedSince   time.Time
	Labels       vm.Selector
	Page         int // from 1; 0 for all
	PerPage      int
	Deleted      bool // those that were deleted and are kept, in the place of the others
	wantTimeline bool
}

// maxIDs bounds how many VMs a request may name.
const maxIDs = 10_000

// VMs returns the actor's VMs, oldest first. One that its customer deleted is
// not among them.
func (s *Service) VMs(ctx context.Context, who account.Actor, f VMFilter) ([]VM, error) {
	filter := store.Filter{AccountID: who.AccountID, States: f.States, EndedSince: f.EndedSince, Deleted: f.Deleted, Labels: f.Labels}
	for _, given := range f.IDs {
		if vmID, err := id.ParseVM(given); err == nil {
			filter.IDs = append(filter.IDs, vmID)
		}
	}
	if len(f.IDs) > maxIDs {
		return nil, fault.Newf(fault.Invalid, "at most %d ids fit a request", maxIDs)
	}
	if len(f.IDs) > 0 && len(filter.IDs) == 0 {
		return []VM{}, nil
	}
	if f.Page > 0 {
		filter.Limit, filter.Offset = f.PerPage, (f.Page-1)*f.PerPage
	}
	var list []VM
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		list, err = s.list(ctx, tx, filter, f)
		return err
	})
	return list, err
}

func (s *Service) list(ctx context.Context, tx *store.Tx, filter store.Filter, f VMFilter) ([]VM, error) {
	if f.Datacenter != "" {
		place, err := tx.DatacenterBySlug(ctx, strings.ToLower(f.Datacenter))
		if fault.Is(err, fault.NotFound) {
			return []VM{}, nil
		}
		if err != nil {
			return nil, err
		}
		filter.DatacenterID = place.ID
	}
	vms, err := tx.VMs(ctx, filter)
	if err != nil {
		return nil, err
	}
	list, err := located(ctx, tx, vms)
	if err != nil {
		return nil, err
	}
	if err := firstErrorOf(
		func() error { return s.owe(ctx, tx, list) },
		func() error { return s.wait(ctx, tx, list) },
	); err != nil || !f.wantTimeline {
		return list, err
	}
	for i := range list {
		if list[i].Timeline, err = timeline(ctx, tx, list[i].ID); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// located returns VMs with where they are and what they run on.
func located(ctx context.Context, tx *store.Tx, vms []vm.VM) ([]VM, error) {
	servers, places := map[string]store.Server{}, map[string]market.Datacenter{}
	for _, v := range vms {
		servers[v.ServerID], places[v.DatacenterID] = store.Server{}, market.Datacenter{}
	}
	found, err := tx.ServersByID(ctx, slices.Sorted(maps.Keys(servers)))
	if err != nil {
		return nil, err
	}
	for _, server := range found {
		servers[server.ID] = server
	}
	near, err := tx.DatacentersByID(ctx, slices.Sorted(maps.Keys(places)))
	if err != nil {
		return nil, err
	}
	for _, d := range near {
		places[d.ID] = d
	}
	list := make([]VM, len(vms))
	for i, v := range vms {
		server := servers[v.ServerID]
		list[i] = VM{VM: v, Datacenter: places[v.DatacenterID], Hardware: server.Inventory.Hardware}
		if !v.Gone {
			list[i].UnreachableSince, list[i].DrainedAt = server.SilentSince, server.DrainDeadline
		}
	}
	return list, nil
}

// VM returns one of the actor's VMs with its timeline, or a NotFound fault.
func (s *Service) VM(ctx context.Context, who account.Actor, vmID string) (VM, error) {
	vmID, err := id.ParseVM(vmID)
	if err != nil {
		return VM{}, err
	}
	list, err := s.VMs(ctx, who, VMFilter{IDs: []string{vmID}, wantTimeline: true})
	if err != nil {
		return VM{}, err
	}
	if len(list) == 0 {
		return VM{}, noVM(vmID)
	}
	return list[0], nil
}

func noVM(vmID string) error { return fault.Newf(fault.NotFound, "no VM with id %q", vmID) }

// WaitVM returns a VM as soon as it is in the wanted state, can't reach it any
// more because it ended, or ctx is done, whichever is first; then it is
// returned as it is.
func (s *Service) WaitVM(ctx context.Context, who account.Actor, vmID string, want vm.State, timeout <-chan time.Time) (VM, error) {
	vmID, err := id.ParseVM(vmID)
	if err != nil {
		return VM{}, err
	}
	changed, cancel := s.bells.listen("vm:" + vmID)
	defer cancel()
	for {
		v, err := s.VM(ctx, who, vmID)
		if err != nil || v.State == want || v.State.Ended() {
			return v, err
		}
		select {
		case <-changed:
		case <-timeout:
			return v, nil
		case <-ctx.Done():
			return v, nil
		}
	}
}

// Update changes one VM; nil leaves a member as it is.
type Update struct {
	ID    string
	Name  *string
	Ports []vm.Port // the whole set; nil leaves it, empty closes all
}

// UpdateVMs makes all changes or none. Returns NotFound for an unknown,
// foreign or deleted VM, Invalid for a bad name or ports.
func (s *Service) UpdateVMs(ctx context.Context, who account.Actor, updates []Update) error {
	if len(updates) > maxIDs {
		return fault.Newf(fault.Invalid, "at most %d updates fit a request", maxIDs)
	}
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		for _, u := range updates {
			v, err := s.owned(ctx, tx, who, u.ID)
			if err != nil {
				return err
			}
			if v.State == vm.Stopped {
				return noVM(v.ID) // it left the list
			}
			if err := s.update(ctx, tx, v, u); err != nil {
				return err
			}
			rung = append(rung, "vm:"+v.ID, "server:"+v.ServerID)
		}
		return nil
	})
	if err == nil {
		s.ring(ctx, rung...)
	}
	return err
}

func (s *Service) update(ctx context.Context, tx *store.Tx, v vm.VM, u Update) error {
	now := s.Now().UTC()
	if u.Name != nil && *u.Name != v.Name {
		if err := vm.CheckName(*u.Name); err != nil {
			return err
		}
		v.Name = *u.Name
		if err := tx.PutEvent(ctx, v.ID, s.happened("renamed", now, fmt.Sprintf("renamed to %s", v.Name))); err != nil {
			return err
		}
	}
	if u.Ports != nil {
		ports, err := vm.OpenPorts(u.Ports)
		if err != nil {
			return err
		}
		if err := s.setPorts(ctx, tx, &v, ports, PortChange{}); err != nil {
			return err
		}
	}
	return tx.UpdateVM(ctx, v)
}

func portList(ports []vm.Port) string {
	if len(ports) == 0 {
		return "none"
	}
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = fmt.Sprintf("%d/%s", p.Number, p.Protocol)
	}
	return strings.Join(words, ", ")
}

// happened returns a line of the timeline that can happen more than once.
func (s *Service) happened(what string, now time.Time, text string) vm.Event {
	return vm.Event{At: now, Key: fmt.Sprintf("%s:%d", what, now.UnixMicro()), Text: text}
}

// DeleteVMs ends VMs at their customer's wish and returns what is left in their
// reserves; the started epoch isn't refunded. It is all or nothing and may be
// repeated: one that was deleted before is no error and moves no money.
// Returns NotFound for an unknown or foreign VM.
func (s *Service) DeleteVMs(ctx context.Context, who account.Actor, ids []string) ([]string, error) {
	if len(ids) > maxIDs {
		return nil, fault.Newf(fault.Invalid, "at most %d ids fit a request", maxIDs)
	}
	var removed, rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		removed, rung = []string{}, nil
		for _, given := range ids {
			v, err := s.owned(ctx, tx, who, given)
			if err != nil {
				return err
			}
			if slices.Contains(removed, v.ID) {
				continue
			}
			if err := v.Refuses(vm.Delete, nil); err != nil {
				return err
			}
			removed = append(removed, v.ID)
			if err := s.end(ctx, tx, v, vm.Deleted, "deleted by its customer"); err != nil {
				return err
			}
			rung = append(rung, "vm:"+v.ID, "server:"+v.ServerID)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.ring(ctx, rung...)
	s.moneyCame(ctx)
	return removed, nil
}

// owned returns the actor's VM, deleted ones too, or a NotFound fault.
func (s *Service) owned(ctx context.Context, tx *store.Tx, who account.Actor, given string) (vm.VM, error) {
	vmID, err := id.ParseVM(given)
	if err != nil {
		return vm.VM{}, err
	}
	v, err := tx.VM(ctx, vmID)
	if fault.Is(err, fault.NotFound) || err == nil && v.AccountID != who.AccountID {
		return vm.VM{}, noVM(vmID)
	}
	return v, err
}

// end moves a VM to the state that follows an ending cause: its reserve goes
// back to its customer, and its server is asked to remove it. A VM that ended
// before only changes its state.
func (s *Service) end(ctx context.Context, tx *store.Tx, v vm.VM, cause vm.Cause, reason string) error {
	if vm.Next(v.State, cause) == v.State {
		return nil
	}
	now := s.Now().UTC()
	if err := s.billBegun(ctx, tx, &v, now); err != nil {
		return err
	}
	next := vm.Next(v.State, cause)
	v.State, v.Since, v.Reason, v.Deadline = next, now, reason, time.Time{}
	text := reason
	if err := s.settleLast(ctx, tx, &v, 0, now); err != nil {
		return err
	}
	v.NextBilling = time.Time{}
	if v.Reserved > 0 {
		if _, err := tx.Post(ctx, ledger.Release(now, v.AccountID, v.ID, v.Reserved, reason, v.Generation)); err != nil {
			return err
		}
		text = fmt.Sprintf("%s; %s USDC were returned", reason, v.Reserved)
	}
	if v.Goal != vm.Remove {
		v.EndedAt = now
		if cause == vm.Deleted && s.keep(&v, now) {
			text += fmt.Sprintf("; its disk and address are kept until %s, and it can be undeleted", v.KeptUntil.Format(time.RFC3339))
		} else {
			v.Goal = vm.Remove
		}
		v.Generation++
		if err := tx.Revise(ctx, v.ServerID); err != nil {
			return err
		}
	}
	return firstError(tx.UpdateVM(ctx, v), tx.PutEvent(ctx, v.ID, s.happened(string(next), now, text)))
}
