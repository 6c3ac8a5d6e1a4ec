package control_test

import (
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
)

// ours reports whether what a subject, an account or an API key, has used grows
// by the VMs of another.
func ours(subject, accountID, keyID string) bool { return subject == accountID || subject == keyID }

// used recounts what an account or an API key has used, VM by VM and charge by charge.
func (m *bills) used(subject string) (use account.Use) {
	now := m.clock.Now().UTC()
	for _, id := range m.ids {
		v := m.stored(id)
		if !ours(subject, v.AccountID, v.KeyID) {
			continue
		}
		for _, e := range m.entries(ledger.Reserve(id), ledger.Charge) {
			at := e.At.UTC()
			if at.Format("2006-01") == now.Format("2006-01") {
				use.Month += e.Amount
			}
			if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
				use.Day += e.Amount
			}
		}
		if v.State.Starting() {
			use.Day += v.Price
			use.Month += v.Price
		}
		if !v.State.Ended() {
			use.Running += v.Price
		}
	}
	return use
}

// checkUse compares what counts towards limits with what the VMs and entries say.
func (m *bills) checkUse() {
	for _, who := range m.deployers {
		s := m.spending(who)
		want(m.rt, "used by "+who.AccountID, s.Account.Used, m.used(who.AccountID))
		want(m.rt, "used by "+who.KeyID, s.Key.Used, m.used(who.KeyID))
	}
	m.must("count again", m.db.Read(m.t.Context(), func(tx *store.Tx) error {
		wrong, err := tx.MiscountedSpending(m.t.Context())
		want(m.rt, "wrong sums", wrong, []string{})
		return err
	}))
}

// bounds sets limits, of an account or of a key, that leave room for a few VMs.
func (m *bills) bounds() {
	draw := func(name string) *money.Amount {
		n := rapid.Int64Range(-2, 5).Draw(m.rt, name)
		if n < 0 {
			return nil
		}
		return new(price * money.Amount(n))
	}
	l := account.Limits{PerDay: draw("per day"), PerMonth: draw("per month"), Running: draw("running")}
	ci := m.deployers[2]
	var err error
	switch rapid.IntRange(0, 2).Draw(m.rt, "of") {
	case 0:
		_, err = m.SetLimits(m.t.Context(), m.who[0], l)
	case 1:
		_, err = m.SetAccountLimits(m.t.Context(), operator, m.who[0].AccountID, l)
	case 2:
		_, err = m.SetKeyLimits(m.t.Context(), m.who[0], ci.KeyID, l)
	}
	m.must("set limits", err)
}

// mayDeploy reports whether limits leave room for one VM.
func (m *bills) mayDeploy(who account.Actor, price money.Amount) bool {
	s := m.spending(who)
	more := account.Use{Day: price, Month: price, Running: price}
	for subject, limits := range map[string][]account.Limits{who.AccountID: {s.Account.Own, s.Account.Operator}, who.KeyID: {s.Key.Own}} {
		for _, l := range limits {
			use := m.used(subject).Plus(more)
			if over(use.Day, l.PerDay) || over(use.Month, l.PerMonth) || over(use.Running, l.Running) {
				return false
			}
		}
	}
	return true
}

func over(use money.Amount, limit *money.Amount) bool { return limit != nil && use > *limit }

// refusedFor returns the kind of fault that a deploy of one VM ends in.
func (m *bills) refusedFor(who account.Actor, deposit money.Amount) fault.Kind {
	switch {
	case !m.mayDeploy(who, deposit/2):
		return fault.Exhausted
	case m.free(who) < deposit:
		return fault.Unaffordable
	}
	return ""
}
