package control_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Whatever customers, operators, agents and the clock do in whatever order, the
// control plane does as a model of a few lines says, and the rules of money and
// capacity hold after every step.
func TestModel(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		property(t, e, func(rt *rapid.T) {
			db := e.Open(t)
			defer func() { _ = db.Close() }() // rather than hundreds of them at the end of the test
			c := newCloud(rt, db)
			c.random = rand.NewChaCha8([32]byte{}) // the same ids in every run, so that a failure can be repeated
			c.restart()
			newModel(rt, c).run()
		})
	})
}

// places is how many small VMs there is room for.
const places = 5

// model is what should be.
type model struct {
	t       *rapid.T
	c       *cloud
	agent   *agent
	who     []account.Actor
	free    []money.Amount // of each account
	paid    []money.Amount // deposits less withdrawals of each account
	price   money.Amount
	vms     map[string]*machine
	answers map[string]answer
}

// machine is a VM as it should be.
type machine struct {
	owner           int
	price           money.Amount
	state           vm.State
	reserved, spent money.Amount
	generation      int64
	deadline        time.Time
	gone            bool
}

// answer is what a request id was used for, and what it was answered.
type answer struct {
	instances int64
	made      []control.Deployed
}

func newModel(t *rapid.T, c *cloud) *model {
	m := &model{t: t, c: c, agent: c.join(room(places)), price: price, vms: map[string]*machine{}, answers: map[string]answer{}}
	for i, balance := range []money.Amount{9 * price, 3 * price} {
		m.who = append(m.who, c.account(fmt.Sprint("account ", i), balance))
		m.free, m.paid = append(m.free, balance), append(m.paid, balance)
	}
	return m
}

func (m *model) run() {
	m.t.Repeat(map[string]func(*rapid.T){
		"deploy":  func(*rapid.T) { m.deploy() },
		"report":  func(*rapid.T) { m.report() },
		"replay":  func(*rapid.T) { m.replay() },
		"delete":  func(*rapid.T) { m.remove() },
		"update":  func(*rapid.T) { m.update() },
		"sweep":   func(*rapid.T) { m.sweep() },
		"pay":     func(*rapid.T) { m.pay() },
		"reprice": func(*rapid.T) { m.reprice() },
		"restart": func(*rapid.T) { m.c.restart() },
		"":        func(*rapid.T) { m.check() },
	})
}

func (m *model) account() int { return rapid.IntRange(0, len(m.who)-1).Draw(m.t, "account") }

// some returns VMs of any owner and state, perhaps none.
func (m *model) some() []string {
	ids := slices.Sorted(maps.Keys(m.vms))
	if len(ids) == 0 {
		return nil
	}
	return rapid.SliceOfN(rapid.SampledFrom(ids), 1, 4).Draw(m.t, "VMs")
}

func (m *model) deploy() {
	i, n := m.account(), rapid.Int64Range(1, 3).Draw(m.t, "instances")
	d := wish(n)
	d.RequestID = rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(m.t, "request id")
	made, err := m.c.Deploy(m.t.Context(), m.who[i], d)

	slot := fmt.Sprint(i, d.RequestID)
	before, repeated := m.answers[slot]
	switch {
	case repeated && before.instances != n:
		wantFault(m.t, "Deploy", err, fault.Conflict)
	case repeated:
		want(m.t, "error", err, error(nil))
		want(m.t, "answer", made, before.made)
	case m.taken()+n > places:
		wantFault(m.t, "Deploy", err, fault.Unsatisfiable)
	case m.free[i] < money.Amount(2*n)*m.price:
		wantFault(m.t, "Deploy", err, fault.Unaffordable)
	default:
		m.c.must("Deploy", err)
		want(m.t, "how many were made", len(made), int(n))
		for _, v := range made {
			m.vms[v.ID] = &machine{
				owner: i, price: m.price, state: vm.New, reserved: 2 * m.price, generation: 1, deadline: m.c.clock.Now().Add(launch),
			}
			m.free[i] -= 2 * m.price
		}
		if d.RequestID != "" {
			m.answers[slot] = answer{n, made}
		}
	}
}

// taken returns how many places are.
func (m *model) taken() (n int64) {
	for _, v := range m.vms {
		if !v.gone {
			n++
		}
	}
	return n
}

func (m *model) report() {
	seen := map[string]vm.Sighting{}
	for _, vmID := range m.some() {
		seen[vmID] = vm.Sighting{
			ID: vmID, Generation: m.vms[vmID].generation - rapid.Int64Range(-1, 1).Draw(m.t, "generations behind"),
			Phase: rapid.SampledFrom([]vm.Phase{vm.Absent, vm.Preparing, vm.Booting, vm.Ready, vm.Broken, vm.Quarantined}).Draw(m.t, "phase"),
		}
	}
	m.c.must("Observe", m.agent.sees(slices.Collect(maps.Values(seen))...))
	for vmID, s := range seen {
		m.vms[vmID].see(m, s)
	}
}

func (v *machine) see(m *model, s vm.Sighting) {
	starting := v.state == vm.New || v.state == vm.Launching
	ended := v.state == vm.Failed || v.state == vm.Stopped
	switch {
	case v.gone || s.Generation > v.generation:
	case ended:
		v.gone = s.Phase == vm.Absent && s.Generation == v.generation
	case (s.Phase == vm.Preparing || s.Phase == vm.Booting) && v.state == vm.New:
		v.state, v.deadline = vm.Launching, m.c.clock.Now().Add(launch)
	case s.Phase == vm.Ready && starting:
		v.state, v.reserved, v.spent = vm.Active, v.reserved-v.price, v.price
	case s.Phase == vm.Broken && starting:
		v.end(m, vm.Failed)
	}
}

// end returns the reserve of a VM.
func (v *machine) end(m *model, as vm.State) {
	if v.state != vm.Failed && v.state != vm.Stopped {
		v.generation++
	}
	m.free[v.owner] += v.reserved
	v.state, v.reserved = as, 0
}

func (m *model) replay() {
	late := vm.Report{Sequence: m.agent.sequence - rapid.Int64Range(0, 3).Draw(m.t, "late by"), Inventory: m.agent.inv}
	for _, vmID := range m.some() {
		late.VMs = append(late.VMs, vm.Sighting{ID: vmID, Generation: m.vms[vmID].generation, Phase: vm.Ready})
	}
	wantFault(m.t, "Observe", m.c.Observe(m.t.Context(), m.agent.id, late), fault.Conflict)
}

// foreign reports whether a VM belongs to another account than i.
func (m *model) foreign(i int) func(vmID string) bool {
	return func(vmID string) bool { return m.vms[vmID].owner != i }
}

func (m *model) remove() {
	i, ids := m.account(), m.some()
	_, err := m.c.DeleteVMs(m.t.Context(), m.who[i], ids)
	if slices.ContainsFunc(ids, m.foreign(i)) {
		wantFault(m.t, "DeleteVMs", err, fault.NotFound)
		return
	}
	m.c.must("DeleteVMs", err)
	for _, vmID := range ids {
		m.vms[vmID].end(m, vm.Stopped)
	}
}

func (m *model) update() {
	i, ids := m.account(), m.some()
	if len(ids) == 0 {
		return
	}
	v := m.vms[ids[0]]
	number := uint16(1 + len(m.vms) + int(v.generation)) // one that is not open yet
	err := m.c.UpdateVMs(m.t.Context(), m.who[i], []control.Update{{ID: ids[0], Ports: []vm.Port{{Number: number, Protocol: vm.UDP}}}})
	if v.owner != i || v.state == vm.Stopped {
		wantFault(m.t, "UpdateVMs", err, fault.NotFound)
		return
	}
	m.c.must("UpdateVMs", err)
	v.generation++
}

func (m *model) sweep() {
	m.c.clock.advance(time.Duration(rapid.IntRange(0, 12).Draw(m.t, "minutes")) * time.Minute)
	overdue := 0
	for _, v := range m.vms {
		if (v.state == vm.New || v.state == vm.Launching) && !v.deadline.After(m.c.clock.Now()) {
			v.end(m, vm.Failed)
			overdue++
		}
	}
	n, err := m.c.Sweep(m.t.Context())
	m.c.must("Sweep", err)
	want(m.t, "swept", n, overdue)
}

func (m *model) pay() {
	i := m.account()
	amount := money.Amount(rapid.Int64Range(0, int64(7*price)).Draw(m.t, "amount"))
	if rapid.Bool().Draw(m.t, "credit") {
		amount++ // nothing is no payment
		_, err := m.c.Credit(m.t.Context(), operator, m.who[i].AccountID, gift(amount))
		m.c.must("Credit", err)
		m.free[i], m.paid[i] = m.free[i]+amount, m.paid[i]+amount
		return
	}
	_, err := m.c.SetBalance(m.t.Context(), operator, m.who[i].AccountID, amount, "so be it")
	m.c.must("SetBalance", err)
	m.free[i], m.paid[i] = amount, m.paid[i]+amount-m.free[i]
}

func (m *model) reprice() {
	p := prices
	p.VCPU += money.Amount(rapid.Int64Range(0, 9).Draw(m.t, "more per vCPU"))
	m.c.must("Reprice", m.c.Reprice(m.t.Context(), operator, "Nord", p))
	m.price = price + 2*(p.VCPU-prices.VCPU)
}

func (m *model) check() {
	m.c.audit()
	whole := append([]money.Amount{}, m.free...) // free, reserved and spent of each account
	earned, taken := money.Amount(0), capacity.Vector{}
	provider, listed, addresses := "", []string{}, map[netip.Addr]bool{}
	for _, vmID := range slices.Sorted(maps.Keys(m.vms)) {
		v, got := m.vms[vmID], m.c.stored(vmID)
		want(m.t, "VM", purse(got), sum(v.state, v.reserved, v.spent))
		want(m.t, "generation", got.Generation, v.generation)
		want(m.t, "is gone", got.Gone, v.gone)
		alive := v.state != vm.Failed && v.state != vm.Stopped
		want(m.t, "holds something", got.Reserved > 0, alive) // no VM without its hold, no hold without its VM
		whole[v.owner] += got.Reserved + got.Spent
		earned += got.Spent
		if !v.gone {
			taken = taken.Add(got.Spec.Demand())
			listed = append(listed, vmID)
			want(m.t, "address is given twice", addresses[got.Address], false)
			addresses[got.Address] = true
		}
		provider = got.ProviderID
	}
	want(m.t, "earned", m.c.income(provider), earned)
	for i, who := range m.who {
		want(m.t, "balance", m.c.free(who), m.free[i])
		want(m.t, "balance, reserves and charges", whole[i], m.paid[i])
	}
	want(m.t, "used", m.c.used(), taken)
	ordered := []string{}
	for _, o := range m.agent.orders() {
		ordered = append(ordered, o.ID)
	}
	slices.Sort(ordered)
	want(m.t, "orders", ordered, listed)
}
