package control_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Whatever customers, their provider, agents and the clock do, on whichever of
// two replicas, with requests cut off and replicas restarted at any moment: the
// six rules of money hold after every step, and limits refuse what passes them
// and nothing else.
func TestBillingModel(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		property(t, e, func(rt *rapid.T) {
			db := e.Open(t)
			defer func() { _ = db.Close() }() // rather than hundreds of them at the end of the test
			c := newCloud(rt, db)
			c.random = rand.NewChaCha8([32]byte{}) // the same ids in every run, so that a failure can be repeated
			c.grace = rapid.SampledFrom([]time.Duration{0, 5 * time.Hour}).Draw(rt, "grace")
			c.fee = rapid.SampledFrom([]control.Fee{0, 33_333}).Draw(rt, "fee")
			c.restart()
			m := &bills{cloud: c, shop: c.shop("Nord", 1), paid: 9 * price}
			m.agents = []*agent{m.shop.join(places), m.shop.join(places / 2)}
			m.other = m.Service
			m.restart()
			m.who = []account.Actor{c.account("Anna", 5*price), c.account("Bert", 4*price)}
			m.deployers = append(slices.Clone(m.who), c.key(m.who[0], account.Limits{}))
			m.run(rt)
		})
	})
}

// bills is a marketplace whose VMs are billed.
type bills struct {
	*cloud
	rt        *rapid.T
	other     *control.Service // a replica on the same store
	shop      shop
	agents    []*agent
	who       []account.Actor
	deployers []account.Actor // the same, and another key of the first
	ids       []string
	paid      money.Amount // deposits less withdrawals of all
	latest    time.Time    // that the clock ever was at
	back      bool         // the clock was set back
}

func (m *bills) run(rt *rapid.T) {
	m.rt = rt
	rt.Repeat(map[string]func(*rapid.T){
		"deploy":    func(*rapid.T) { m.deploys() },
		"limit":     func(*rapid.T) { m.bounds() },
		"preparing": func(*rapid.T) { m.seen(vm.Preparing) },
		"ready":     func(*rapid.T) { m.seen(vm.Ready) },
		"halted":    func(*rapid.T) { m.seen(vm.Halted) },
		"broken":    func(*rapid.T) { m.seen(vm.Broken) },
		"fails":     func(*rapid.T) { m.fails() },
		"removed":   func(*rapid.T) { m.removed() },
		"reprice":   func(*rapid.T) { m.reprices() },
		"back":      func(*rapid.T) { m.setBack() },
		"both bill": func(*rapid.T) { m.both((*control.Service).Bill) },
		"both pay":  func(*rapid.T) { m.both((*control.Service).Replenish) },
		"other":     func(*rapid.T) { m.turns() },
		"absent":    func(*rapid.T) { m.seen(vm.Absent) },
		"delete":    func(*rapid.T) { m.deletes() },
		"terminate": func(*rapid.T) { m.terminates() },
		"pay":       func(*rapid.T) { m.pays() },
		"rescue":    func(*rapid.T) { m.rescues() },
		"pass":      func(*rapid.T) { m.passes() },
		"days":      func(*rapid.T) { m.pass(50 * time.Hour) },
		"away":      func(*rapid.T) { m.away() },
		"bill":      func(*rapid.T) { m.cutOff(func(ctx context.Context) error { _, err := m.Bill(ctx); return err }) },
		"replenish": func(*rapid.T) { m.cutOff(func(ctx context.Context) error { _, err := m.Replenish(ctx); return err }) },
		"sweep":     func(*rapid.T) { m.cutOff(func(ctx context.Context) error { _, err := m.Sweep(ctx); return err }) },
		"replica":   func(*rapid.T) { m.restart() },
		"":          func(*rapid.T) { m.check() },
	})
}

// cutOff does something under a context that ends at one of its next checks.
func (m *bills) cutOff(do func(ctx context.Context) error) {
	ctx := newMortal(m.t.Context(), rapid.Int64Range(1, 60).Draw(m.rt, "questions until the end"))
	defer ctx.end()
	_ = do(ctx) // it happened or it did not
}

func (m *bills) one() (string, bool) {
	if len(m.ids) == 0 {
		return "", false
	}
	return rapid.SampledFrom(m.ids).Draw(m.rt, "VM"), true
}

func (m *bills) deploys() {
	who := rapid.SampledFrom(m.deployers).Draw(m.rt, "key")
	before := m.free(who)
	cost, err := m.Estimate(wish(1).Constraints, 1)
	if fault.Is(err, fault.Unsatisfiable) {
		return
	}
	m.must("Estimate", err)
	refused := m.refusedFor(who, cost.Deposit)
	made, err := m.Deploy(m.t.Context(), who, wish(1))
	if refused != "" {
		wantFault(m.rt, "Deploy", err, refused)
		want(m.rt, "balance", m.free(who), before)
		return
	}
	m.must("Deploy", err)
	want(m.rt, "the deposit is what was estimated", before-m.free(who), cost.Deposit)
	m.ids = append(m.ids, made[0].ID)
}

func (m *bills) seen(phase vm.Phase) {
	if id, ok := m.one(); ok {
		on(m.stored(id), m.agents).reports(phase, id)
	}
}

func (m *bills) fails() {
	if id, ok := m.one(); ok {
		on(m.stored(id), m.agents).fails(id)
	}
}

// removed has a server do what it is told to remove.
func (m *bills) removed() {
	a := rapid.SampledFrom(m.agents).Draw(m.rt, "server")
	for _, o := range a.orders() {
		if o.Goal == vm.Remove {
			m.must("Observe", a.sees(vm.Sighting{ID: o.ID, Generation: o.Generation, Phase: vm.Absent}))
		}
	}
}

// reprices changes what VMs cost that are deployed from now on.
func (m *bills) reprices() {
	d := declared(1)
	d.Offers[0].Address = (prices.Address + money.Amount(rapid.Int64Range(-20, 20).Draw(m.rt, "more"))).String()
	m.shop.apply(d)
}

// setBack sets the clock back.
func (m *bills) setBack() {
	m.clock.advance(-time.Duration(rapid.Int64Range(1, 60).Draw(m.rt, "hours")) * time.Hour)
	m.back = true
}

// turns has customers come to the other replica, a second later.
func (m *bills) turns() {
	m.Service, m.other = m.other, m.Service
	m.Changed(m.t.Context())
}

// both has two replicas do something at once.
func (m *bills) both(do func(*control.Service, context.Context) (int, error)) {
	replicas := []*control.Service{m.Service, m.other}
	for _, err := range together(2, func(i int) error {
		_, err := do(replicas[i], m.t.Context())
		return err
	}) {
		m.must("at once", err)
	}
}

func (m *bills) deletes() {
	id, ok := m.one()
	if !ok {
		return
	}
	v := m.stored(id)
	i := slices.IndexFunc(m.who, func(who account.Actor) bool { return who.AccountID == v.AccountID })
	for range 2 {
		_, err := m.DeleteVMs(m.t.Context(), m.who[i], []string{id})
		m.must("DeleteVMs", err)
	}
}

func (m *bills) terminates() {
	if id, ok := m.one(); ok && !m.stored(id).State.Ended() {
		m.shop.terminate(id)
	}
}

func (m *bills) pays() {
	i, amount := rapid.IntRange(0, 1).Draw(m.rt, "account"), money.Amount(rapid.Int64Range(1, 3*int64(price)).Draw(m.rt, "amount"))
	m.pay("Credit", m.who[i].AccountID, amount)
	m.paid += amount
}

// rescues pays for a VM that is short of money.
func (m *bills) rescues() {
	for _, id := range m.ids {
		if v := m.stored(id); v.State == vm.InsufficientFunds || v.State == vm.SmallBalance {
			m.pay("Credit", v.AccountID, 2*price)
			m.paid += 2 * price
			return
		}
	}
}

func (m *bills) passes() {
	hours := rapid.SampledFrom([]int64{1, 7, 24, 25, 100}).Draw(m.rt, "hours")
	m.pass(time.Duration(hours) * time.Hour)
}

// away lets time go by while no control plane runs.
func (m *bills) away() {
	m.clock.advance(time.Duration(rapid.Int64Range(0, 80).Draw(m.rt, "hours")) * time.Hour)
	m.restart()
}

func (m *bills) check() {
	if now := m.clock.Now(); now.After(m.latest) {
		m.latest = now
	}
	m.sound()
	m.checkUse()
	reserved, spent, owed := money.Amount(0), money.Amount(0), money.Amount(0)
	for _, id := range m.ids {
		v := m.stored(id)
		m.checkVM(v)
		reserved += v.Reserved
		spent += v.Spent
		owed += m.unsettled(v)
	}
	provider := m.shop.providerID()
	free := m.free(m.who[0]) + m.free(m.who[1])
	// Rule 1: all that is there is what came in.
	want(m.rt, "free, reserves, provider and platform", free+reserved+m.income(provider)+m.holds(ledger.Platform), m.paid)
	want(m.rt, "rent is what provider and platform have", spent, m.income(provider)+m.holds(ledger.Platform))
	want(m.rt, "what may still be returned is pending", m.holds(ledger.Pending(provider)), owed)
}

// unsettled returns what a VM's provider has pending of it.
func (m *bills) unsettled(v vm.VM) money.Amount { return money.Amount(v.Epochs-v.Settled) * v.Price }

func (m *bills) checkVM(v vm.VM) {
	name := fmt.Sprintf("%s VM at %s", v.State, m.clock.Now().Sub(start))
	// Rule 2: no VM without its hold, no hold without a VM that may need it.
	switch v.State {
	case vm.New:
		want(m.rt, name+": reserve", v.Reserved, 2*v.Price)
	case vm.Launching:
		want(m.rt, name+": reserve", v.Reserved, 2*v.Price)
	case vm.Active:
		want(m.rt, name+": reserve", v.Reserved, v.Price)
	case vm.SmallBalance, vm.InsufficientFunds:
		want(m.rt, name+": reserve is too small", v.Reserved < v.Price, true)
	case vm.Stopped, vm.Failed:
		want(m.rt, name+": reserve", v.Reserved, money.Amount(0))
	case vm.Terminated:
	}
	// Rule 3: each epoch was charged once, one after the other.
	charges, returned := m.entries(ledger.Reserve(v.ID), ledger.Charge), money.Amount(0)
	for i, e := range charges {
		want(m.rt, name+": epoch", e.Epoch, int64(i+1))
	}
	for _, e := range m.entries(ledger.Reserve(v.ID), ledger.Return) {
		returned += e.Amount
	}
	want(m.rt, name+": epochs", v.Epochs, int64(len(charges)))
	want(m.rt, name+": spent", v.Spent, money.Amount(len(charges))*v.Price-returned)
	// Rule 5: nothing is charged for an epoch that begins after the end, or while
	// it was powered off: each start is one epoch at once and one for each that
	// it ran on after it.
	if !v.ActivatedAt.IsZero() {
		end := m.latest
		if !m.back && !v.EndedAt.IsZero() {
			end = v.EndedAt
		}
		most := int64(end.Sub(v.ActivatedAt)/v.Epoch) + 1 + m.starts(v.ID)
		want(m.rt, fmt.Sprintf("%s: %d epochs are at most %d", name, v.Epochs, most), v.Epochs <= most, true)
	}
	if v.State.Billed() && m.starts(v.ID) == 0 {
		want(m.rt, name+": epochs drift by", v.NextBilling.Sub(v.ActivatedAt)%v.Epoch, time.Duration(0))
	}
	want(m.rt, name+": falls due", !v.NextBilling.IsZero(), v.State.Billed())
	want(m.rt, name+": wanted off", v.Goal == vm.Halt, v.State == vm.InsufficientFunds)
}

// starts returns how often a VM was started again.
func (m *bills) starts(id string) (n int64) {
	m.must("read timeline", m.db.Read(m.t.Context(), func(tx *store.Tx) error {
		events, err := tx.Events(m.t.Context(), id)
		for _, e := range events {
			if len(e.Key) > len("active:") && e.Key[:len("active:")] == "active:" {
				n++
			}
		}
		return err
	}))
	return n
}
