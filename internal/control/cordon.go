package control

import (
	"context"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Cordon keeps new VMs off a server; those that are there run on. One that is
// draining stays so.
func (s *Service) Cordon(ctx context.Context, who account.Actor, provider, given string) (Server, error) {
	return s.manage(ctx, who, provider, given, func(tx *store.Tx, server store.Server) ([]string, error) {
		if server.State != market.ServerOpen {
			return nil, nil
		}
		server.State = market.ServerCordoned
		return nil, s.told(ctx, tx, server, "cordoned", "cordoned: nothing more is placed on it")
	})
}

// Uncordon opens a server for new VMs again: draining is lifted, and a problem
// that goes by its provider's word is over.
func (s *Service) Uncordon(ctx context.Context, who account.Actor, provider, given string) (Server, error) {
	return s.manage(ctx, who, provider, given, func(tx *store.Tx, server store.Server) (rung []string, err error) {
		what := forgive(&server)
		if server.State == market.ServerDraining {
			if rung, err = s.announce(ctx, tx, server.ID, "its server is not drained any more: it runs on"); err != nil {
				return nil, err
			}
			what = append(what, "draining was lifted")
		}
		if server.State != market.ServerOpen {
			what = append(what, "open for new VMs")
		}
		if len(what) == 0 {
			return nil, nil
		}
		server.State, server.DrainDeadline = market.ServerOpen, time.Time{}
		return rung, s.told(ctx, tx, server, "uncordoned", "uncordoned: "+strings.Join(what, "; "))
	})
}

// forgive ends a problem that goes by its provider's word, and says how. Of a
// server whose hardware changed nothing is sold until its next report, by which
// it is listed as it is then.
func forgive(server *store.Server) (what []string) {
	switch {
	case strings.HasPrefix(server.Problem, problemIdentity):
		server.Instances, server.Problem = nil, ""
		return []string{"the next machine that reports is the server"}
	case strings.HasPrefix(server.Problem, problemHardware) && server.Inventory.Hardware != capacity.Hardware{}:
		server.Inventory.Hardware = capacity.Hardware{}
		server.Problem = problemHardware + "it is listed as what its next report says"
		return []string{"it is listed as what its next report says"}
	}
	return nil
}

// Remove takes a server out of the marketplace for good. Returns a Conflict
// fault while VMs are there or quotes hold places. One whose agent will never
// purge its VMs is for RemoveLost.
func (s *Service) Remove(ctx context.Context, who account.Actor, provider, given string) (Server, error) {
	return s.manage(ctx, who, provider, given, func(tx *store.Tx, server store.Server) ([]string, error) {
		vms, err := tx.ServerVMs(ctx, server.ID)
		switch {
		case err != nil:
			return nil, err
		case len(vms) > 0:
			lost := ""
			if !server.SilentSince.IsZero() {
				lost = "; if its machine is gone for good, remove it as lost"
			}
			return nil, fault.Newf(fault.Conflict, "VMs are on server %s: %d; drain it, and remove it once its agent has purged them%s", nameOfServer(server), len(vms), lost)
		case server.Used != capacity.Vector{}:
			return nil, fault.Newf(fault.Conflict, "quotes hold places on server %s; cordon it and try again in %s", nameOfServer(server), LongestQuote)
		}
		server.State, server.DrainDeadline = market.ServerRemoved, time.Time{}
		return []string{"server:" + server.ID}, s.told(ctx, tx, server, "removed", "removed from the marketplace")
	})
}
