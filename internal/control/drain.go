package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Bounds of the time that customers get to leave a server.
const (
	ShortestDrain = time.Hour
	LongestDrain  = 30 * 24 * time.Hour
)

// Drain keeps new VMs off a server and announces to the customers of those that
// are there when its provider will end them. Draining it again changes the time.
// Returns an Invalid fault for a time outside ShortestDrain and LongestDrain.
func (s *Service) Drain(ctx context.Context, who account.Actor, provider, given string, within time.Duration, reason string) (Server, error) {
	return s.manage(ctx, who, provider, given, func(tx *store.Tx, server store.Server) ([]string, error) {
		if within < ShortestDrain || within > LongestDrain {
			return nil, fault.Newf(fault.Invalid, "a server is drained within %.0fh to %.0fh, not %s", ShortestDrain.Hours(), LongestDrain.Hours(), within)
		}
		if err := checkReason(reason, false); err != nil {
			return nil, err
		}
		deadline := s.Now().UTC().Add(within).Truncate(time.Second)
		text := "draining: VMs that are left at " + deadline.Format(time.RFC3339) + " are ended"
		if server.State == market.ServerDraining {
			text = "the time of draining was changed: VMs that are left at " + deadline.Format(time.RFC3339) + " are ended"
		}
		notice := notice(deadline, reason, server.State == market.ServerDraining)
		if reason != "" {
			text += ": " + reason
		}
		server.State, server.DrainDeadline = market.ServerDraining, deadline
		rung, err := s.announce(ctx, tx, server.ID, notice)
		if err != nil {
			return nil, err
		}
		return rung, s.told(ctx, tx, server, "draining", text)
	})
}

// notice tells a customer what will happen.
func notice(deadline time.Time, reason string, again bool) string {
	when := "its provider will end it at "
	if again {
		when = "the time was changed: " + when
	}
	if reason != "" {
		reason = " (" + reason + ")"
	}
	return when + deadline.Format(time.RFC3339) + ", with all that is on its server" + reason + ". What is not delivered of the epoch then is " +
		"returned with its reserve, and its disk is purged: save what you need and deploy anew elsewhere before"
}

// announce writes a line on the timelines of all VMs of a server that have not
// ended, and returns whom to wake.
func (s *Service) announce(ctx context.Context, tx *store.Tx, serverID, text string) (rung []string, err error) {
	vms, err := tx.ServerVMs(ctx, serverID)
	if err != nil {
		return nil, err
	}
	now := s.Now().UTC()
	for _, v := range vms {
		if v.State.Ended() {
			continue
		}
		if err := tx.PutEvent(ctx, v.ID, s.happened(drainEvent, now, text)); err != nil {
			return nil, err
		}
		rung = append(rung, "vm:"+v.ID)
	}
	return rung, nil
}

// EndDrains ends the VMs that are left on servers whose time to be drained has
// come, each in a transaction of its own, and leaves the servers cordoned. It
// returns how many servers there were.
func (s *Service) EndDrains(ctx context.Context) (int, error) {
	ids, err := s.dueDrains(ctx)
	if err != nil {
		return 0, err
	}
	var errs []error // one that can't be emptied does not hold up the others
	for _, serverID := range ids {
		if err := s.endDrain(ctx, serverID); err != nil {
			errs = append(errs, fmt.Errorf("end draining of %s: %w", serverID, err))
		}
	}
	if len(ids) > 0 {
		s.changed(ctx)
	}
	return len(ids) - len(errs), errors.Join(errs...)
}

// dueDrains returns the servers whose time to be drained has come. It is only a
// hint: by the time that it is acted on, the time may have been changed.
func (s *Service) dueDrains(ctx context.Context) (ids []string, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		ids, err = tx.DrainedServers(ctx, s.Now(), sweepBatch)
		return err
	})
	return ids, err
}

// endDrain ends VMs one by one until none is left, and then the draining.
func (s *Service) endDrain(ctx context.Context, serverID string) error {
	for {
		if more, err := s.stepDrain(ctx, serverID); err != nil || !more {
			return err
		}
	}
}

// stepDrain ends one VM in a transaction, or the draining when there is none. It
// returns false when there is nothing more to do.
func (s *Service) stepDrain(ctx context.Context, serverID string) (more bool, err error) {
	var rung []string
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		server, err := tx.Server(ctx, serverID)
		if err != nil || server.DrainDeadline.IsZero() || server.DrainDeadline.After(s.Now()) {
			rung = nil
			return err // it was lifted or put off in the meantime
		}
		rung, err = s.endNext(ctx, tx, server)
		return err
	})
	if err != nil {
		return false, err
	}
	s.ring(ctx, rung...)
	return len(rung) > 0, nil
}

// endNext ends the first VM of a server that has not ended and returns whom to
// wake; when there is none, the server is left cordoned.
func (s *Service) endNext(ctx context.Context, tx *store.Tx, server store.Server) (rung []string, err error) {
	vms, err := tx.ServerVMs(ctx, server.ID)
	if err != nil {
		return nil, err
	}
	for _, v := range vms {
		rung := []string{"vm:" + v.ID, "server:" + server.ID}
		if !v.KeptUntil.IsZero() {
			return rung, s.purge(ctx, tx, &v, "its server was drained: its disk is not kept any longer")
		}
		if v.State.Ended() {
			continue
		}
		return rung, s.terminate(ctx, tx, v, "ended by its provider: its server was drained")
	}
	text := "drained: it is empty and stays cordoned"
	if len(vms) > 0 {
		text = fmt.Sprintf("drained: all its VMs have ended and it stays cordoned; its agent still has to purge %d", len(vms))
	}
	server.State, server.DrainDeadline = market.ServerCordoned, time.Time{}
	return nil, s.told(ctx, tx, server, "drained", text)
}
