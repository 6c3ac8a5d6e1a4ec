package control

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	// SilentAfter is how long nothing has to be heard of a server until it is
	// unreachable: three polls of its agent and some.
	SilentAfter = 90 * time.Second

	rememberedStarts = 8   // of an agent that are remembered
	maxEpochLeap     = 100 // that a list's epoch may be ahead of the store
)

// The beginnings of what is wrong with a server. Problems are told to its
// provider; nothing is placed on it while there is one.
const (
	problemIdentity  = "identity: "  // goes by the provider's word alone
	problemHardware  = "hardware: "  // goes by the provider's word, or when the old hardware is back
	problemInventory = "inventory: " // goes by itself once all that is taken is there again
)

// hear takes in what a report says of the server itself; sells is true when
// what it sells may have changed.
func (s *Service) hear(ctx context.Context, tx *store.Tx, serverID string, r vm.Report) (sells bool, err error) {
	server, err := tx.Server(ctx, serverID)
	if err != nil {
		return false, err
	}
	if server.State == market.ServerRemoved { // since its agent was let in
		return false, errRemoved
	}
	if r.Sequence <= server.ReportSequence {
		return false, fault.Newf(fault.Conflict, "report %d is not newer than the last one", r.Sequence)
	}
	before := server
	if err := spoken(&server, r.Instance); err != nil {
		return false, err
	}
	if err := follow(&server, r.Follows); err != nil {
		return false, err
	}
	s.inspect(&server, r.Inventory)
	if !server.SilentSince.IsZero() {
		server.SilentSince = time.Time{}
	}
	server.ReportSequence, server.SeenAt = r.Sequence, s.Now()
	if same(before, server) {
		return false, tx.Heard(ctx, serverID, r.Sequence, s.Now())
	}
	if before.Inventory.Hardware != server.Inventory.Hardware {
		if err := s.relist(ctx, tx, &server); err != nil {
			return false, err
		}
	}
	if err := tx.UpdateServer(ctx, server); err != nil {
		return false, err
	}
	return true, s.tellChanges(ctx, tx, before, server)
}

// same reports whether a report told nothing new.
func same(a, b store.Server) bool {
	b.ReportSequence, b.SeenAt = a.ReportSequence, a.SeenAt
	return reflect.DeepEqual(a, b)
}

// spoken notes which start of an agent speaks. One that another start has
// followed never speaks again, unless two machines have one identity.
func spoken(server *store.Server, instance string) error {
	i := slices.Index(server.Instances, instance)
	switch {
	case instance == "" || i == 0:
		return nil
	case i > 0:
		return vm.ErrCopied
	}
	server.Instances = append([]string{instance}, server.Instances...)
	server.Instances = server.Instances[:min(len(server.Instances), rememberedStarts)]
	return nil
}

// follow raises the epoch of a server's list when its agent follows a newer one
// than there is: the store was restored from a backup, and what it holds now is
// the newest.
func follow(server *store.Server, f vm.Version) error {
	if f.Epoch > server.ListEpoch+maxEpochLeap || f.Epoch < 0 || f.Revision < 0 {
		return fault.New(fault.Invalid, "the list that the agent says it follows was never made")
	}
	if f.Epoch > server.ListEpoch || f.Epoch == server.ListEpoch && f.Revision > server.Revision {
		server.ListEpoch = f.Epoch + 1
	}
	return nil
}

// inspect takes an inventory in. What a server was enrolled as stays what is
// sold until its provider says otherwise.
func (s *Service) inspect(server *store.Server, now capacity.Inventory) {
	was := server.Inventory
	if now.Measured == nil || was.Measured != nil && now.Measured.At.Before(was.Measured.At) {
		now.Measured = was.Measured
	}
	problem := server.Problem
	if problem != "" && !strings.HasPrefix(problem, problemIdentity) {
		problem = ""
	}
	if was.Hardware != (capacity.Hardware{}) && now.Hardware != was.Hardware {
		if problem == "" {
			problem = problemHardware + "it reports " + describe(now.Hardware) + " and is listed as " + describe(was.Hardware) +
				"; uncordon it to list it as it is now"
		}
		now.Hardware = was.Hardware
	}
	if problem == "" && !now.Total.Fits(server.Used) {
		problem = problemInventory + "it reports " + now.Total.String() + ", but " + server.Used.String() + " are taken by VMs"
	}
	server.Inventory, server.Problem = now, problem
}

// relist puts a server into the offer of its datacenter that lists its
// hardware; when there is none, it stays where it is.
func (s *Service) relist(ctx context.Context, tx *store.Tx, server *store.Server) error {
	current, known := s.shelf.Offer(server.OfferID)
	if !known {
		return nil
	}
	offer, err := offerFor(ctx, tx, store.Terms{ProviderID: current.ProviderID, DatacenterID: current.Datacenter.ID}, server.Inventory.Hardware)
	if fault.Is(err, fault.Conflict) {
		return nil
	}
	server.OfferID = offer.ID
	return err
}

// tellChanges writes the server's timeline.
func (s *Service) tellChanges(ctx context.Context, tx *store.Tx, a, b store.Server) error {
	var lines []vm.Event
	now := s.Now().UTC()
	tell := func(on bool, what, text string) {
		if on {
			lines = append(lines, s.happened(what, now, text))
		}
	}
	tell(!a.SilentSince.IsZero() && b.SilentSince.IsZero(), "heard", fmt.Sprintf("heard again after %s", now.Sub(a.SilentSince).Round(time.Second)))
	tell(a.Inventory.Total != b.Inventory.Total, "inventory", "sells "+b.Inventory.Total.String()+" instead of "+a.Inventory.Total.String())
	tell(a.Problem != b.Problem && b.Problem != "", "problem", b.Problem)
	tell(a.Problem != "" && b.Problem == "", "well", "nothing is wrong with it any more")
	tell(a.ListEpoch != b.ListEpoch, "epoch", "its agent followed a newer list than the control plane has: the store was restored from a backup")
	if m := b.Inventory.Measured; m != nil && (a.Inventory.Measured == nil || !m.At.Equal(a.Inventory.Measured.At)) {
		tell(true, "measured", fmt.Sprintf("measured: CPU %.0f (all threads %.0f), memory %.0f MiB/s, disk %.0f/%.0f MiB/s", m.CPUSingle, m.CPUAll, m.Memory, m.DiskRead, m.DiskWrite))
	}
	for _, line := range lines {
		if err := tx.PutServerEvent(ctx, b.ID, line); err != nil {
			return err
		}
	}
	return nil
}

// refuse tells on the server's timeline that a report was refused, and why.
func (s *Service) refuse(ctx context.Context, serverID string, r vm.Report, err error) {
	switch {
	case errors.Is(err, vm.ErrCopied):
		s.copied(ctx, serverID)
	case fault.Is(err, fault.Conflict):
		s.refused(ctx, serverID, "replay", fmt.Sprintf("report %d was refused: one as new was taken in before", r.Sequence))
	case fault.Is(err, fault.Invalid):
		s.refused(ctx, serverID, "invalid", "a report was refused: "+fault.Message(err))
	}
}

// refused writes a line of a server's timeline, at most one of a kind per hour.
func (s *Service) refused(ctx context.Context, serverID, what, text string) {
	hour := s.Now().UTC().Truncate(time.Hour)
	if !s.refusals.first(serverID+what, hour) {
		return
	}
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.Server(ctx, serverID); err != nil {
			return err
		}
		return tx.PutServerEvent(ctx, serverID, vm.Event{At: s.Now().UTC(), Key: fmt.Sprintf("refused-%s:%d", what, hour.Unix()), Text: printable(text)})
	})
	if err != nil && !fault.Is(err, fault.NotFound) {
		s.Log.WarnContext(ctx, "refusal not noted", "server_id", serverID, "error", err)
	}
}

// copied notes that two machines have one identity.
func (s *Service) copied(ctx context.Context, serverID string) {
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		server, err := tx.Server(ctx, serverID)
		if err != nil || strings.HasPrefix(server.Problem, problemIdentity) {
			return err
		}
		before := server
		server.Problem = problemIdentity + "two machines speak for this server; end one of them, then uncordon"
		return firstError(tx.UpdateServer(ctx, server), s.tellChanges(ctx, tx, before, server))
	})
	if err != nil {
		s.Log.ErrorContext(ctx, "copied identity not noted", "server_id", serverID, "error", err)
		return
	}
	s.changed(ctx)
}

// NoteSilence notes servers that were not heard for SilentAfter: nothing more is
// placed on them, and nothing else happens. It returns how many there were.
func (s *Service) NoteSilence(ctx context.Context) (int, error) {
	now := s.Now()
	if now.Sub(*s.listening.Load()) < SilentAfter {
		return 0, nil // the control plane was away itself
	}
	var ids []string
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		ids, err = tx.SilentServers(ctx, now.Add(-SilentAfter), sweepBatch)
		return err
	})
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		for _, serverID := range ids {
			server, err := tx.Server(ctx, serverID)
			if err != nil {
				return err
			}
			if !server.SilentSince.IsZero() || now.Sub(server.SeenAt) < SilentAfter || server.State == market.ServerRemoved {
				continue
			}
			server.SilentSince = server.SeenAt
			if err := firstError(tx.UpdateServer(ctx, server), tx.PutServerEvent(ctx, serverID,
				s.happened("silent", now.UTC(), "unreachable: its agent was heard last at "+server.SeenAt.UTC().Format(time.RFC3339)))); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.changed(ctx)
	}
	return len(ids), err
}
