package control

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

// RemoveLost takes a server out of the marketplace whose machine is gone for
// good: VMs that are there are ended, and count as purged, since no agent will
// ever say so. Quotes that hold places there can't be used any more and expire.
// Returns an Invalid fault for a bad reason, which may be left out, and a
// Conflict fault for a server that is heard.
func (s *Service) RemoveLost(ctx context.Context, who account.Actor, provider, given, reason string) (Server, error) {
	return s.manage(ctx, who, provider, given, func(tx *store.Tx, server store.Server) ([]string, error) {
		if err := checkReason(reason, false); err != nil {
			return nil, err
		}
		if server.SilentSince.IsZero() {
			return nil, fault.Newf(fault.Conflict, "server %s is not lost: its agent was heard at %s; drain it, and remove it once that has purged its VMs",
				nameOfServer(server), server.SeenAt.UTC().Format(time.RFC3339))
		}
		why := "its server is lost"
		if reason != "" {
			why += ": " + reason
		}
		return s.writeOff(ctx, tx, server, why)
	})
}

// writeOff removes a server with all that is there, and returns whom to wake.
// The server goes first: what its VMs are told follows from its being removed.
func (s *Service) writeOff(ctx context.Context, tx *store.Tx, server store.Server, why string) (rung []string, err error) {
	vms, err := tx.ServerVMs(ctx, server.ID)
	if err != nil {
		return nil, err
	}
	server.State, server.DrainDeadline = market.ServerRemoved, time.Time{}
	if err := s.told(ctx, tx, server, "removed", fmt.Sprintf("removed from the marketplace with %d VMs: %s", len(vms), why)); err != nil {
		return nil, err
	}
	for _, v := range vms {
		if err := s.terminate(ctx, tx, v, "ended by its provider: "+why); err != nil {
			return nil, err
		}
		if v, err = tx.VM(ctx, v.ID); err != nil {
			return nil, err
		}
		if err := s.leave(ctx, tx, v, "its server was removed from the marketplace, and its disk is lost with it"); err != nil {
			return nil, err
		}
		rung = append(rung, "vm:"+v.ID)
	}
	return append(rung, "server:"+server.ID), nil
}
