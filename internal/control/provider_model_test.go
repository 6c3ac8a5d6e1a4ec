package control_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Whatever a provider ends, drains and loses and a customer deploys and deletes, in
// whatever order: no money is made or lost, nothing is returned twice, and a
// provider never owes.
func TestProviderModel(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		property(t, e, func(rt *rapid.T) {
			db := e.Open(t)
			defer func() { _ = db.Close() }() // rather than hundreds of them at the end of the test
			c := newCloud(rt, db)
			c.random = rand.NewChaCha8([32]byte{}) // the same ids in every run, so that a failure can be repeated
			c.restart()
			nord := c.shop("Nord", 1)
			m := &endings{t: rt, shop: nord, agent: nord.join(places), anna: c.account("Anna", 20*price), provider: nord.providerID()}
			rt.Repeat(map[string]func(*rapid.T){
				"deploy":    func(*rapid.T) { m.deploy() },
				"activate":  func(*rapid.T) { m.activate() },
				"terminate": func(*rapid.T) { m.end() },
				"delete":    func(*rapid.T) { m.remove() },
				"purge":     func(*rapid.T) { m.purge() },
				"drain":     func(*rapid.T) { m.drain() },
				"uncordon":  func(*rapid.T) { _, err := m.Uncordon(rt.Context(), m.who, m.name, m.agent.id); m.must("Uncordon", err) },
				"advance":   func(*rapid.T) { m.advance() },
				"lose":      func(*rapid.T) { m.lose() },
				"":          func(*rapid.T) { m.check() },
			})
		})
	})
}

// endings are the VMs of one customer at one provider.
type endings struct {
	shop
	t        *rapid.T
	agent    *agent
	anna     account.Actor
	provider string
	ids      []string
}

func (m *endings) one() (vm.VM, bool) {
	if len(m.ids) == 0 {
		return vm.VM{}, false
	}
	return m.stored(rapid.SampledFrom(m.ids).Draw(m.t, "VM")), true
}

func (m *endings) deploy() {
	made, err := m.Deploy(m.t.Context(), m.anna, wish(1))
	if err == nil {
		m.ids = append(m.ids, made[0].ID)
	}
}

func (m *endings) activate() {
	if v, ok := m.one(); ok && v.State.Starting() {
		m.agent.reports(vm.Ready, v.ID)
	}
}

func (m *endings) end() {
	m.bill()
	v, ok := m.one()
	if !ok || v.State == vm.Stopped {
		return
	}
	before := m.free(m.anna)
	returned := m.terminate(v.ID)
	after := m.stored(v.ID)
	want(m.t, "free balance, which a provider's ending leaves", m.free(m.anna), before)
	if v.State == vm.Terminated {
		want(m.t, "ended again", purse(after), purse(v))
		return
	}
	want(m.t, "ended", purse(after), sum(vm.Terminated, v.Reserved+returned, v.Spent-returned))
	if v.State.Starting() && returned != 0 || returned > v.Spent {
		m.t.Errorf("%s of a VM that spent %s was returned", returned, v.Spent)
	}
}

func (m *endings) remove() {
	m.bill()
	v, ok := m.one()
	if !ok {
		return
	}
	before := m.free(m.anna)
	m.cloud.remove(m.anna, v.ID)
	want(m.t, "what a deletion returns", m.free(m.anna)-before, v.Reserved)
	want(m.t, "deleted", purse(m.stored(v.ID)), sum(vm.Stopped, 0, v.Spent))
	m.cloud.remove(m.anna, v.ID)
	want(m.t, "what a second one returns", m.free(m.anna)-before, v.Reserved)
}

func (m *endings) purge() {
	if v, ok := m.one(); ok && v.State.Ended() {
		m.agent.reports(vm.Absent, v.ID)
	}
}

func (m *endings) drain() {
	m.shop.drain(m.agent.id, rapid.SampledFrom([]time.Duration{time.Hour, epoch}).Draw(m.t, "within"))
}

func (m *endings) advance() {
	m.clock.advance(time.Duration(rapid.Int64Range(0, int64(epoch)).Draw(m.t, "time")))
	overdue := m.look(m.agent.id)
	_, err := m.EndDrains(m.t.Context())
	m.must("EndDrains", err)
	if overdue.DrainDeadline.IsZero() || overdue.DrainDeadline.After(m.clock.Now()) {
		return
	}
	for _, v := range m.look(m.agent.id).There {
		if !v.State.Ended() {
			m.t.Errorf("%s is left behind as %s", v.ID, v.State)
		}
	}
}

// bill charges the epochs that have begun, which the end of a VM does else.
func (m *endings) bill() {
	_, err := m.Bill(m.t.Context())
	m.must("Bill", err)
}

// lose removes the server with all that is there, and has another one join.
func (m *endings) lose() {
	m.silence(control.SilentAfter + time.Second)
	m.bill()
	lost := m.look(m.agent.id)
	before := m.free(m.anna)
	m.shop.lose(m.agent.id, "it burnt down")
	want(m.t, "free balance, which a lost server leaves", m.free(m.anna), before)
	for _, was := range lost.There {
		v := m.stored(was.ID)
		if !v.State.Ended() || !v.Gone {
			m.t.Errorf("%s is left on a lost server as %s", v.ID, v.State)
		}
		want(m.t, "reserve and rent", v.Reserved+v.Spent, was.Reserved+was.Spent)
	}
	m.agent = m.join(places)
}

func (m *endings) check() {
	total, spent, held := m.free(m.anna), money.Amount(0), int64(0)
	for _, id := range m.ids {
		v := m.stored(id)
		total += v.Reserved + v.Spent
		spent += v.Spent
		if !v.Gone {
			held++
		}
		want(m.t, "reserve", v.Reserved, m.holds(ledger.Reserve(id)))
	}
	want(m.t, "balance, reserves and rent", total, 20*price)
	want(m.t, "income", m.income(m.provider), spent)
	want(m.t, "used", m.used(), room(held))
	m.audit()
}
