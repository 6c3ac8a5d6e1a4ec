package control

import (
	"context"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/usage"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Latest is what a VM used lately.
type Latest struct {
	VM    vm.VM
	Point *usage.Point // of its newest minute; nil when nothing is known of it
}

// lately is how old the newest of it may be.
const lately = 3 * time.Minute

// LatestMetrics returns what each of the actor's VMs that has not ended used lately, in
// the order of their creation.
func (s *Service) LatestMetrics(ctx context.Context, who account.Actor) ([]Latest, error) {
	var out []Latest
	err := s.Store.Read(ctx, func(tx *store.Tx) error {
		list, err := tx.VMs(ctx, store.Filter{AccountID: who.AccountID})
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(v vm.VM) bool { return v.State.Ended() })
		known, err := s.latestOf(ctx, tx, list)
		for _, v := range list {
			l := Latest{VM: v}
			if p, ok := known[v.ID]; ok {
				l.Point = &p
			}
			out = append(out, l)
		}
		return err
	})
	return out, err
}

// latestOf returns the newest minute that is known of each VM.
func (s *Service) latestOf(ctx context.Context, tx *store.Tx, list []vm.VM) (map[string]usage.Point, error) {
	servers := map[string][]vm.VM{}
	for _, v := range list {
		servers[v.ServerID] = append(servers[v.ServerID], v)
	}
	ids := make([]string, 0, len(servers))
	for serverID := range servers {
		ids = append(ids, serverID)
	}
	slices.Sort(ids)
	numbers, err := tx.NumbersOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	var keys []store.UsageKey
	byNumber := map[uint32][]usage.Key{}
	now := s.wall()
	for _, serverID := range ids {
		number := numbers[serverID]
		for _, v := range servers[serverID] {
			if key, ok := keyOf(v.ID); ok {
				byNumber[number] = append(byNumber[number], key)
			}
		}
		for minute := minuteOf(usage.SlotOf(now.Add(-lately))); minute <= minuteOf(usage.SlotOf(now.Add(clockOff))); minute++ {
			keys = append(keys, store.UsageKey{Minute: minute, Server: number})
		}
	}
	rows, err := tx.RecentUsage(ctx, keys)
	if err != nil {
		return nil, err
	}
	out := map[string]usage.Point{}
	for _, row := range rows { // by minute, so that the newest stays
		for key, series := range s.batchOf(ctx, row, byNumber[row.Server]...) {
			vmID, err := vmOf(key)
			if points := usage.Coarsen(series, minuteSlots); err == nil && len(points) > 0 {
				out[vmID] = points[len(points)-1]
			}
		}
	}
	return out, nil
}
