package control

import (
	"context"
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
		if serverID, ok := strings.CutPrefix(thing, "server:"); ok {
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
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		servers, err := tx.ServersByID(ctx, ids)
		if err != nil {
			return err
		}
		for _, server := range servers {
			if !server.Simulated {
				continue
			}
			vms, err := tx.ServerVMs(ctx, server.ID)
			if err != nil {
				return err
			}
			changed, err := s.sight(ctx, tx, server.ID, vms, s.simulate(server.ID, vms))
			if err != nil {
				return err
			}
			rung = append(rung, changed...)
		}
		return nil
	})
	if err != nil {
		for _, serverID := range ids {
			s.simulation.heed(s.Now(), "server:"+serverID)
		}
		return err
	}
	s.changed(ctx)
	s.bells.ring(rung...)
	return nil
}

// simulate returns what a simulated agent sees of its VMs.
func (s *Service) simulate(serverID string, vms []vm.VM) (seen []vm.Sighting) {
	now := s.Now()
	for _, v := range vms {
		switch {
		case v.Goal == vm.Remove:
			seen = append(seen, vm.Sighting{ID: v.ID, Generation: v.Generation, Phase: vm.Absent})
		case v.State.Starting() && now.Sub(v.CreatedAt) < s.SimulatedBoot:
			s.simulation.heed(v.CreatedAt.Add(s.SimulatedBoot), "server:"+serverID)
		default:
			seen = append(seen, vm.Sighting{ID: v.ID, Generation: v.Generation, Phase: vm.Ready})
		}
	}
	return seen
}
