package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// Placings returns how often VMs were placed on another server, of those that were.
func (t *Tx) Placings(ctx context.Context, ids []string) (map[string]int, error) {
	out := map[string]int{}
	if len(ids) == 0 {
		return out, nil
	}
	list, err := rows[struct {
		ID string
		N  int
	}](ctx, t, `SELECT known_as AS id, COUNT(*) AS n FROM vms WHERE known_as IN (?) AND known_as <> '' GROUP BY known_as ORDER BY known_as`, bun.List(ids))
	for _, r := range list {
		out[r.ID] = r.N
	}
	return out, err
}

// OpenOperations returns the operations of VMs that go on, by VM.
func (t *Tx) OpenOperations(ctx context.Context, ids []string) (map[string]vm.Operation, error) {
	out := map[string]vm.Operation{}
	if len(ids) == 0 {
		return out, nil
	}
	list, err := rows[operationRow](ctx, t, `SELECT `+operationColumns+` FROM operations WHERE vm_id IN (?) AND ended_at = 0 ORDER BY vm_id`, bun.List(ids))
	for _, r := range list {
		if out[r.VMID], err = r.operation(); err != nil {
			return nil, err
		}
	}
	return out, err
}

// LastTold returns when something was told last on the timelines of VMs, of those where
// it was: a kind of line that can be there more than once, by how its keys begin.
func (t *Tx) LastTold(ctx context.Context, ids []string, kind string) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	if len(ids) == 0 {
		return out, nil
	}
	list, err := rows[struct {
		ID string
		At int64
	}](ctx, t, `SELECT vm_id AS id, MAX(at) AS at FROM vm_events WHERE vm_id IN (?) AND key >= ? AND key < ? GROUP BY vm_id ORDER BY vm_id`,
		bun.List(ids), kind+":", kind+";")
	for _, r := range list {
		out[r.ID] = at(r.At)
	}
	return out, err
}

// Silent is a VM whose server is not heard since a moment.
type Silent struct {
	VM    string
	Since time.Time
	Key   string // of the line that tells it, this time
}

// SilentVMs returns up to limit VMs, which have not ended, whose servers are not heard,
// and whose timelines lack the line that is due once for every so long of that.
func (t *Tx) SilentVMs(ctx context.Context, now time.Time, every time.Duration, limit int) ([]Silent, error) {
	servers, err := rows[struct {
		ID    string
		Since int64
	}](ctx, t, `SELECT id, silent_since AS since FROM servers WHERE silent_since > 0 AND silent_since <= ? AND state <> 'removed' ORDER BY silent_since, id`,
		micros(now.Add(-every)))
	var due []Silent
	for _, s := range servers {
		since := at(s.Since)
		key := fmt.Sprintf("silence:%d:%d", s.Since, now.Sub(since)/every)
		list, err := rows[struct{ ID string }](ctx, t, `SELECT v.id FROM vms v WHERE v.server_id = ? AND NOT v.gone AND v.goal <> 'remove'
			AND NOT EXISTS (SELECT 1 FROM vm_events e WHERE e.vm_id = v.id AND e.key = ?) ORDER BY v.id LIMIT ?`, s.ID, key, limit-len(due))
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			due = append(due, Silent{r.ID, since, key})
		}
		if len(due) >= limit {
			break
		}
	}
	return due, err
}
