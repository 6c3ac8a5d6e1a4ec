package control

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
)

// useOf returns what VMs that cost perEpoch in all add to what is used.
func useOf(perEpoch money.Amount, epoch time.Duration) account.Use {
	return account.Use{Day: perEpoch, Month: perEpoch, Running: per24h(perEpoch, epoch)}
}

func per24h(perEpoch money.Amount, epoch time.Duration) money.Amount {
	return perEpoch.Scaled((24 * time.Hour).Microseconds(), epoch.Microseconds())
}

// uses returns what an account and some of its API keys have used by a time. With
// limited only VMs count whose account or key has limits: what it returns of the
// others is too little.
func (s *Service) uses(ctx context.Context, tx *store.Tx, now time.Time, limited bool, accountID string, keyIDs ...string) (map[string]account.Use, error) {
	subjects := append([]string{accountID}, keyIDs...)
	charged, err := tx.Charges(ctx, now, limited, accountID, keyIDs...)
	if err != nil {
		return nil, err
	}
	rents, err := tx.Rents(ctx, accountID, limited)
	if err != nil {
		return nil, err
	}
	uses := map[string]account.Use{}
	for _, subject := range subjects {
		use := account.Use{Day: charged[subject].Day, Month: charged[subject].Month}
		all := map[time.Duration]money.Amount{}
		for _, r := range rents {
			if subject == accountID || subject == r.KeyID {
				use = use.Plus(account.Use{Day: r.Waiting, Month: r.Waiting})
				all[r.Epoch] += r.All
			}
		}
		for epoch, rent := range all {
			use = use.Plus(account.Use{Running: per24h(rent, epoch)})
		}
		uses[subject] = use
	}
	return uses, nil
}

// boundsMost is how many accounts and keys are remembered.
const boundsMost = 10_000

// unlimited is the revision of limits at which none was ever set.
const unlimited = 1

// bounds remembers the limits of accounts and API keys for as long as nobody's
// are changed: looking costs a transaction nothing.
type bounds struct {
	revision int64
	known    map[string][]account.Bound
}

// of returns the limits of those accounts and keys that have any.
func (m *bounds) of(ctx context.Context, tx *store.Tx, subjects []string) (map[string][]account.Bound, error) {
	if tx.LimitsRevision() != m.revision || len(m.known) >= boundsMost {
		m.revision, m.known = tx.LimitsRevision(), map[string][]account.Bound{}
	}
	unknown := slices.DeleteFunc(slices.Clone(subjects), func(subject string) bool { _, known := m.known[subject]; return known })
	if len(unknown) > 0 {
		list, err := tx.Bounds(ctx, unknown...)
		if err != nil {
			return nil, err
		}
		for _, subject := range unknown {
			m.known[subject] = nil
		}
		for _, b := range list {
			m.known[b.Subject] = append(m.known[b.Subject], b)
		}
	}
	found := map[string][]account.Bound{}
	for _, subject := range subjects {
		if known := m.known[subject]; len(known) > 0 {
			found[subject] = known
		}
	}
	return found, nil
}

// budget is what those who ask in one transaction have used, as far as it is
// limited.
type budget struct {
	now    time.Time
	bounds map[string][]account.Bound // by account or key
	used   map[string]account.Use     // of those, and of the others of the same actors
}

// budgetOf returns the budget of those who ask. The caller holds filling.
func (s *Service) budgetOf(ctx context.Context, tx *store.Tx, now time.Time, actors ...account.Actor) (budget, error) {
	if tx.LimitsRevision() == unlimited {
		return budget{}, nil
	}
	var subjects []string
	for _, who := range actors {
		subjects = append(subjects, who.AccountID, who.KeyID)
	}
	slices.Sort(subjects)
	found, err := s.bounds.of(ctx, tx, slices.Compact(subjects))
	if err != nil || len(found) == 0 {
		return budget{}, err
	}
	b := budget{now: now, bounds: found, used: map[string]account.Use{}}
	keys := map[string][]string{}
	for _, who := range actors {
		if b.limits(who) && !slices.Contains(keys[who.AccountID], who.KeyID) {
			keys[who.AccountID] = append(keys[who.AccountID], who.KeyID)
		}
	}
	for accountID, keys := range keys {
		uses, err := s.uses(ctx, tx, now, true, accountID, keys...)
		if err != nil {
			return b, err
		}
		maps.Copy(b.used, uses)
	}
	return b, nil
}

// limits reports whether the actor's account or key has limits.
func (b *budget) limits(who account.Actor) bool {
	return len(b.bounds[who.AccountID])+len(b.bounds[who.KeyID]) > 0
}

// allows returns an Exhausted fault when a limit has no room for more.
func (b *budget) allows(who account.Actor, more account.Use) error {
	for _, subject := range []string{who.AccountID, who.KeyID} {
		for _, bound := range b.bounds[subject] {
			if err := bound.Allow(b.used[subject], more, b.now); err != nil {
				return err
			}
		}
	}
	return nil
}

// spend notes what was accepted.
func (b *budget) spend(who account.Actor, more account.Use) {
	if b.limits(who) {
		b.used[who.AccountID] = b.used[who.AccountID].Plus(more)
		b.used[who.KeyID] = b.used[who.KeyID].Plus(more)
	}
}
