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
	mu    sync.Mutex
	due   map[string]bool // servers to be looked at
	boots []boot          // servers to be looked at later, the first first
}

// boot is a server on which a VM may have booted by a time.
type boot struct {
	at       time.Time
	serverID string
}

// heed notes that lists of servers may have changed: they are looked at now, for
// VMs that are to be removed, and once what is new has booted. A thing is named
// like a bell; others than servers are left out.
func (m *simulation) heed(booted time.Time, things ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.due == nil {
		m.due = map[string]bool{}
	}
	for _, thing := range things {
		if serverID, ok := strings.CutPrefix(thing, "server:"); ok {
			m.due[serverID] = true
			m.boots = append(m.boots, boot{booted, serverID})
		}
	}
}

// take returns some of the servers that are due.
func (m *simulation) take(now time.Time) (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.boots) > 0 && !m.boots[0].at.After(now) {
		m.due[m.boots[0].serverID] = true
		m.boots = m.boots[1:]
	}
	for serverID := range m.due {
		if len(ids) == simulateMost {
			break
		}
		ids = append(ids, serverID)
		delete(m.due, serverID)
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
			s.simulation.heed(s.Now().Add(s.SimulatedBoot), "server:"+serverID)
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
			s.simulation.heed(s.Now().Add(s.SimulatedBoot), "server:"+serverID)
		}
	}
	return err
}

// simulateServers looks first, and writes only where a VM moves on.
func (s *Service) simulateServers(ctx context.Context, ids []string) error {
	var waiting []vm.VM
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		waiting, err = tx.WaitingVMs(ctx, ids, s.Now().Add(-s.SimulatedBoot))
		return err
	})
	if err != nil {
		return err
	}
	seen := map[string][]vm.Sighting{}
	for _, v := range waiting {
		seen[v.ServerID] = append(seen[v.ServerID], simulate(v))
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
	s.ring(ctx, rung...)
	return nil
}

// simulate returns what a simulated agent sees of a VM that waits for it.
func simulate(v vm.VM) vm.Sighting {
	if v.Goal == vm.Remove {
		return vm.Sighting{ID: v.ID, Generation: v.Generation, Phase: vm.Absent}
	}
	return vm.Sighting{ID: v.ID, Generation: v.Generation, Phase: vm.Ready}
}
