package control

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/store"
)

const (
	loadFor  = 5 * time.Minute // how long a count is good; it only decides between equals
	loadMost = 1_000           // accounts that are remembered
)

// loads remembers how many VMs of an account are on each server.
type loads struct {
	accounts map[string]loadOf
}

type loadOf struct {
	byServer map[uint32]int
	until    time.Time
}

// of returns the counts of an account, which its caller keeps up.
func (l *loads) of(ctx context.Context, tx *store.Tx, accountID string, now time.Time) (map[uint32]int, error) {
	if known, ok := l.accounts[accountID]; ok && now.Before(known.until) {
		return known.byServer, nil
	}
	byServer, err := tx.Load(ctx, accountID)
	if err != nil {
		return nil, err
	}
	if l.accounts == nil || len(l.accounts) >= loadMost {
		l.accounts = map[string]loadOf{}
	}
	l.accounts[accountID] = loadOf{byServer, now.Add(loadFor)}
	return byServer, nil
}
