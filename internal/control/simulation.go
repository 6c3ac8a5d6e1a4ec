package control

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	simulateEvery = 250 * time.Millisecond
	simulateMost  = 200 // servers at once
)

// simulation stands for the agents of simulated servers: VMs there become
// Active a while after they were deployed, and are gone when they are deleted.
type simulation struct {
	mu  sync.Mutex
	due map[string]time.Time // when a server is to be looked at
}

// heed notes that lists of servers may have changed. A thing is named like a
// bell; others than servers are left out.
func (m *simulation) heed(at time.Time, things ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.due == nil {
		m.due = map[string]time.Time{}
	}
	for _, thing := range things {
		serverID, ok := strings.CutPrefix(thing, "server:")
		if known, waits := m.due[serverID]; ok && (!waits || at.Before(known)) {
			m.due[serverID] = at
		}
	}
}

// take returns some of the servers that are due.
func (m *simulation) take(now time.Time) (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for serverID, at := range m.due {
		if len(ids) < simulateMost && !at.After(now) {
			ids = append(ids, serverID)
			delete(m.due, serverID)
		}
	}
	return ids
}

// runAgents stands for the agents of simulated servers until ctx is done.
func (s *Service) runAgents(ctx context.Context) {
	if err := s.resumeAgents(ctx); err != nil && ctx.Err() == nil {
		s.Log.ErrorContext(ctx, "simulated servers not read", "error", err)
	}
	every(ctx, simulateEvery, func(ctx context.Context) {
		if err := s.SimulateAgents(ctx); err != nil && ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "simulated agents failed", "error", err)
		}
	})
}

// resumeAgents has all simulated servers looked at that VMs are on.
func (s *Service) resumeAgents(ctx context.Context) error {
	return s.Store.Read(ctx, func(tx *store.Tx) error {
		ids, err := tx.SimulatedServers(ctx)
		for _, serverID := range ids {
			s.simulation.heed(s.Now(), "server:"+serverID)
		}
		return err
	})
}

// SimulateAgents has the agents of some servers report whose lists changed.
func (s *Service) SimulateAgents(ctx context.Context) error {
	ids := s.simulation.take(s.Now())
	if len(ids) == 0 {
		return nil
	}
	err := s.simulateServers(ctx, ids)
	if err != nil {
		for _, serverID := range ids {
			s.simulation.heed(s.Now(), "server:"+serverID)
		}
	}
	return err
}

// simulateServers looks first, and writes only where a VM moves on: most looks
// find it booting.
func (s *Service) simulateServers(ctx context.Context, ids []string) error {
	var waiting []vm.VM
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		waiting, err = tx.WaitingVMs(ctx, ids)
		return err
	})
	if err != nil {
		return err
	}
	seen := map[string][]vm.Sighting{}
	for _, v := range waiting {
		if sighting, moves := s.simulate(v); moves {
			seen[v.ServerID] = append(seen[v.ServerID], sighting)
		}
	}
	if len(seen) == 0 {
		return nil
	}
	var rung []string
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		for _, serverID := range slices.Sorted(maps.Keys(seen)) {
			vms, err := tx.ServerVMs(ctx, serverID)
			if err != nil {
				return err
			}
			changed, err := s.sight(ctx, tx, serverID, vms, seen[serverID])
			if err != nil {
				return err
			}
			rung = append(rung, changed...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.changed(ctx)
	s.bells.ring(rung...)
	return nil
}

// simulate returns what a simulated agent sees of a VM that waits for it; moves
// is false while it boots.
func (s *Service) simulate(v vm.VM) (seen vm.Sighting, moves bool) {
	if v.Goal == vm.Remove {
		return vm.Sighting{ID: v.ID, Generation: v.Generation, Phase: vm.Absent}, true
	}
	if s.Now().Sub(v.CreatedAt) < s.SimulatedBoot {
		s.simulation.heed(v.CreatedAt.Add(s.SimulatedBoot), "server:"+v.ServerID)
		return vm.Sighting{}, false
	}
	return vm.Sighting{ID: v.ID, Generation: v.Generation, Phase: vm.Ready}, true
}
