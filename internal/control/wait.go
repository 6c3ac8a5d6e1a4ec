package control

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// The kinds of lines that tell a VM's customer of its ports and of draining.
const (
	portsEvent = "ports"
	drainEvent = "drain"
)

// wait notes what VMs wait for. What has to be looked up is, for those that need it.
func (s *Service) wait(ctx context.Context, tx *store.Tx, list []VM) error {
	var starting, busy, told []string
	for _, v := range list {
		if v.State.Starting() && v.Wish != "" {
			starting = append(starting, v.ID)
		}
		if v.Operation != "" {
			busy = append(busy, v.ID)
		}
		if !v.RevertAt.IsZero() || !v.DrainedAt.IsZero() {
			told = append(told, v.ID)
		}
	}
	placings, err := tx.Placings(ctx, starting)
	if err != nil {
		return err
	}
	operations, err := tx.OpenOperations(ctx, busy)
	if err != nil {
		return err
	}
	ports, err := tx.LastTold(ctx, told, portsEvent)
	if err != nil {
		return err
	}
	drains, err := tx.LastTold(ctx, told, drainEvent)
	if err != nil {
		return err
	}
	now := s.Now().UTC()
	for i := range list {
		v := &list[i]
		around := vm.Around{
			Now: now, Grace: s.Grace, Placings: placings[v.ID], SilentSince: v.UnreachableSince, DrainedAt: v.DrainedAt,
			DrainedSince: drains[v.ID], PortsSince: ports[v.ID],
		}
		if o, goesOn := operations[v.ID]; goesOn {
			around.Busy = &o
		}
		if v.Wish != "" {
			around.Left = max(mostReplacements-around.Placings, 0)
		}
		if v.Payment != nil {
			around.Missing = v.Payment.Missing
		}
		v.Waits = v.VM.Waits(around)
	}
	return nil
}

// remindBatch is how many VMs are told at once.
const remindBatch = 500

// Remind tells customers of VMs whose server is still not heard, once for each
// vm.RemindEvery, and returns of how many VMs.
func (s *Service) Remind(ctx context.Context) (told int, err error) {
	now := s.Now().UTC()
	var due []store.Silent
	if err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		due, err = tx.SilentVMs(ctx, now, vm.RemindEvery, remindBatch)
		return err
	}); err != nil || len(due) == 0 {
		return 0, err
	}
	rung := make([]string, len(due))
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		for i, silent := range due {
			rung[i] = "vm:" + silent.VM
			text := fmt.Sprintf("its server is not heard since %s, %s ago: it runs on as far as is known", silent.Since.Format(time.RFC3339), span(now.Sub(silent.Since)))
			if err := tx.PutEvent(ctx, silent.VM, vm.Event{At: now, Key: silent.Key, Text: text}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.ring(ctx, rung...)
	}
	return len(due), err
}
