package control

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Figures is what an operator watches.
type Figures struct {
	store.Census
	// Discrepancies is how many the newest check found, of all replicas; CheckedAt
	// is when, zero before the first.
	Discrepancies int64
	CheckedAt     time.Time
	Behind        time.Duration          // how long the VM that is due longest waits to be billed
	Duties        map[string]DutyFigures // of this replica since it was started, by what is done
}

// DutyFigures counts how often a duty did something, and how often it failed.
type DutyFigures struct{ Done, Failed int64 }

// Figures returns what an operator watches. For operators.
func (s *Service) Figures(ctx context.Context, who account.Actor) (Figures, error) {
	if err := who.RequireOperator(); err != nil {
		return Figures{}, err
	}
	f := Figures{Duties: s.tallies.all()}
	now := s.Now()
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		if f.Census, err = tx.Census(ctx, now.Add(-s.Grace)); err != nil {
			return err
		}
		f.Discrepancies, f.CheckedAt, err = checked(ctx, tx)
		return err
	})
	if !f.DueSince.IsZero() {
		f.Behind = now.Sub(f.DueSince)
	}
	return f, err
}

// tallies counts what duties did. The zero value is ready to use.
type tallies struct {
	mu     sync.Mutex
	duties map[string]DutyFigures
}

func (t *tallies) count(what string, n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.duties == nil {
		t.duties = map[string]DutyFigures{}
	}
	d := t.duties[what]
	if err != nil {
		d.Failed++
	} else {
		d.Done += int64(n)
	}
	t.duties[what] = d
}

func (t *tallies) all() map[string]DutyFigures {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.duties)
}
