package control_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// A report that was lost, comes twice or comes late does no harm.
func TestReplays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(2)), c.account("Anna", 4*price)
		id := c.deploy(anna)
		tell := func(sequence int64, phase vm.Phase, generation int64) error {
			return c.Observe(t.Context(), a.id, vm.Report{Sequence: sequence, Inventory: a.inv, VMs: []vm.Sighting{{ID: id, Generation: generation, Phase: phase}}})
		}
		c.must("report 5", tell(5, vm.Preparing, 0))
		for _, late := range []int64{5, 4, 0, -1} {
			wantFault(t, "a late report", tell(late, vm.Ready, 1), fault.Conflict)
			want(t, "after it", c.stored(id).State, vm.Launching)
		}
		c.must("report 6", tell(6, vm.Ready, 1))
		wantFault(t, "report 6 again", tell(6, vm.Ready, 1), fault.Conflict)
		c.restart()
		wantFault(t, "report 6 after a restart", tell(6, vm.Ready, 1), fault.Conflict)
		want(t, "charged once", purse(c.stored(id)), sum(vm.Active, price, price))

		c.remove(anna, id)
		c.must("absent, of the order before", tell(7, vm.Absent, 1))
		want(t, "used", c.used(), room(1))
		c.must("absent, of an order that was never given", tell(8, vm.Absent, 3))
		want(t, "used", c.used(), room(1))
		c.must("still there", tell(9, vm.Ready, 2))
		want(t, "used", c.used(), room(1))
		c.must("absent", tell(10, vm.Absent, 2))
		c.must("absent again", tell(11, vm.Absent, 2))
		want(t, "used", c.used(), capacity.Vector{})
		want(t, "generation reached", c.stored(id).Reached, int64(2))
		c.audit()
	})
}

// A generation that was never given moves nothing.
func TestReportFromTheFuture(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 2*price)
		id := c.deploy(anna)
		c.must("Observe", a.sees(vm.Sighting{ID: id, Generation: 2, Phase: vm.Ready}))
		v := c.stored(id)
		want(t, "VM", purse(v), sum(vm.New, 2*price, 0))
		want(t, "generation reached", v.Reached, int64(0))
	})
}

// An agent speaks for its own VMs only, and those that nobody asked for stay
// as they are.
func TestReportOfStrangers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 4*price)
		b := c.join(room(2))
		mine := c.deploy(anna)
		if len(a.orders()) == 0 {
			a, b = b, a
		}
		c.must("Observe", b.sees(
			vm.Sighting{ID: mine, Generation: 1, Phase: vm.Ready},
			vm.Sighting{ID: "0x00000000000000000000000000000000000000ff", Generation: 1, Phase: vm.Quarantined},
			vm.Sighting{ID: "\x00\xff'--", Generation: 1, Phase: vm.Absent},
			vm.Sighting{},
		))
		want(t, "VM", purse(c.stored(mine)), sum(vm.New, 2*price, 0))
		want(t, "orders", []int{len(a.orders()), len(b.orders())}, []int{1, 0})
		c.must("Observe", a.sees(vm.Sighting{ID: mine, Phase: "sleeping"}, vm.Sighting{ID: mine, Generation: 1, Phase: vm.Absent}))
		want(t, "VM that its agent doesn't have yet", purse(c.stored(mine)), sum(vm.New, 2*price, 0))
		want(t, "used", c.used(), room(1))
	})
}

// Whatever the order of ids in the database, each VM is found in a report.
func TestReportOfMany(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		const many = 40
		a, anna := c.join(room(many)), c.account("Anna", many*2*price)
		made, err := c.Deploy(t.Context(), anna, wish(many))
		c.must("Deploy", err)
		ids := make([]string, many)
		for i, m := range made {
			ids[i] = m.ID
		}
		a.reports(vm.Ready, ids...)
		for _, id := range ids {
			want(t, "VM", purse(c.stored(id)), sum(vm.Active, price, price))
		}
		c.audit()
	})
}

// What a server can't have is refused; less than before is not.
func TestInventory(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(2)), c.account("Anna", 8*price)
		id := c.deploy(anna)
		c.deploy(anna)
		good := a.inv
		for name, change := range map[string]func(*capacity.Inventory){
			"negative":           func(i *capacity.Inventory) { i.Total.VCPU = -1 },
			"beyond belief":      func(i *capacity.Inventory) { i.Total.RAMGiB = 1 << 25 },
			"no pool":            func(i *capacity.Inventory) { i.Pool = netip.Prefix{} },
			"pool of one":        func(i *capacity.Inventory) { i.Pool = netip.MustParsePrefix("192.0.2.1/32") },
			"more than its pool": func(i *capacity.Inventory) { i.Pool = netip.MustParsePrefix("192.0.2.0/30"); i.Total.Addresses = 3 },
		} {
			a.inv = good
			change(&a.inv)
			wantFault(t, name, a.sees(vm.Sighting{ID: id, Generation: 1, Phase: vm.Ready}), fault.Invalid)
			want(t, name, purse(c.stored(id)), sum(vm.New, 2*price, 0))
		}
		a.inv = inventory(room(1)) // smaller than what is taken
		c.must("Observe", a.sees(vm.Sighting{ID: id, Generation: 1, Phase: vm.Ready}))
		want(t, "VM", purse(c.stored(id)), sum(vm.Active, price, price))
		_, err := c.Deploy(t.Context(), anna, wish(1))
		wantFault(t, "deploy on a server that shrank", err, fault.Unsatisfiable)
		c.remove(anna, id)
		a.reports(vm.Absent, id)
		_, err = c.Deploy(t.Context(), anna, wish(1))
		wantFault(t, "deploy on a server that is just full", err, fault.Unsatisfiable)
		a.inv = inventory(room(2))
		c.must("Observe", a.sees())
		c.deploy(anna)
	})
}

// Ports that change raise the generation; a name doesn't.
func TestUpdate(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(2)), c.account("Anna", 4*price)
		id := c.deploy(anna)
		before, err := c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		update := func(u control.Update) error {
			u.ID = id
			return c.UpdateVMs(t.Context(), anna, []control.Update{u})
		}
		c.must("rename", update(control.Update{Name: new("Other-Name")}))
		c.must("same ports", update(control.Update{Ports: []vm.Port{{Number: 22, Protocol: vm.TCP}}}))
		c.must("nothing", update(control.Update{}))
		v := c.stored(id)
		want(t, "name", v.Name, "Other-Name")
		want(t, "generation", v.Generation, int64(1))
		list, err := c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		want(t, "list", list.Revision, before.Revision)

		c.must("close all", update(control.Update{Ports: []vm.Port{}}))
		v = c.stored(id)
		want(t, "ports", v.Spec.Ports, []vm.Port{})
		want(t, "generation", v.Generation, int64(2))
		list, err = c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		want(t, "list is newer", before.Older(list), true)
		want(t, "order", list.Orders[0].Ports, []vm.Port{})

		foreign := c.deploy(c.account("Bert", 2*price))
		wantFault(t, "a batch with a foreign VM", c.UpdateVMs(t.Context(), anna, []control.Update{{ID: id, Name: new("x")}, {ID: foreign, Name: new("x")}}), fault.NotFound)
		wantFault(t, "a batch with a bad name", c.UpdateVMs(t.Context(), anna, []control.Update{{ID: id, Name: new("x")}, {ID: id, Name: new("")}}), fault.Invalid)
		want(t, "name", c.stored(id).Name, "Other-Name")
		wantFault(t, "too many", c.UpdateVMs(t.Context(), anna, make([]control.Update, 10_001)), fault.Invalid)

		c.remove(anna, id)
		removal := c.stored(id).Generation
		wantFault(t, "a deleted VM", update(control.Update{Ports: []vm.Port{{Number: 80, Protocol: vm.TCP}}}), fault.NotFound)
		want(t, "generation of the removal", c.stored(id).Generation, removal)
	})
}

// A token lets one server in, once, and in time.
func TestEnroll(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		token := c.invite(invitation())
		newKey := func() ed25519.PublicKey {
			key, _, err := ed25519.GenerateKey(rand.Reader)
			c.must("GenerateKey", err)
			return key
		}
		key := newKey()
		enroll := func(token string, key ed25519.PublicKey) (string, error) {
			return c.Enroll(t.Context(), token, key, inventory(room(1)))
		}
		for name, bad := range map[string]string{"guessed": token[:len(token)-1] + "0x"[strings.Count(token[len(token)-1:], "0"):][:1], "empty": "", "long": token + "x"} {
			_, err := enroll(bad, key)
			wantFault(t, name, err, fault.Denied)
		}
		_, err := c.Enroll(t.Context(), token, key, capacity.Inventory{Total: capacity.Vector{VCPU: -1}})
		wantFault(t, "nonsense", err, fault.Invalid)
		id, err := enroll(token, key)
		c.must("Enroll", err)
		_, err = enroll(token, newKey())
		wantFault(t, "used", err, fault.Denied)
		again, err := enroll(token, key)
		c.must("Enroll after the answer was lost", err)
		want(t, "server", again, id)
		got, err := c.AgentKey(t.Context(), id)
		c.must("AgentKey", err)
		want(t, "key", got, key)
		_, err = c.AgentKey(t.Context(), "srv_no")
		wantFault(t, "the key of nobody", err, fault.Denied)
		_, err = c.Orders(t.Context(), "srv_no")
		wantFault(t, "the orders of nobody", err, fault.NotFound)

		late := c.invite(invitation())
		c.clock.advance(time.Hour)
		_, err = enroll(late, newKey())
		wantFault(t, "expired", err, fault.Denied)

		rushed := c.invite(invitation())
		outcomes := tally(together(20, func(int) error {
			_, err := enroll(rushed, newKey())
			return err
		}))
		want(t, "outcomes of one token at once", outcomes, map[fault.Kind]int{"": 1, fault.Denied: 19})
		var all market.Changes
		c.must("MarketChanges", c.db.Read(t.Context(), func(tx *store.Tx) (err error) {
			all, err = tx.MarketChanges(t.Context(), 0)
			return err
		}))
		want(t, "offers, as the terms are alike", len(all.Offers), 1)
		want(t, "servers", len(all.Servers), 2)
	})
}

// Everyone sees and touches what is theirs.
func TestAuthorisation(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(2))
		anna, bert := c.account("Anna", 4*price), c.account("Bert", 4*price)
		id := c.deploy(anna)
		_, err := c.VM(t.Context(), bert, id)
		wantFault(t, "VM", err, fault.NotFound)
		wantFault(t, "UpdateVMs", c.UpdateVMs(t.Context(), bert, []control.Update{{ID: id, Name: new("x")}}), fault.NotFound)
		_, err = c.DeleteVMs(t.Context(), bert, []string{id})
		wantFault(t, "DeleteVMs", err, fault.NotFound)
		_, err = c.WaitVM(t.Context(), bert, id, vm.Active, nil)
		wantFault(t, "WaitVM", err, fault.NotFound)
		_, err = c.Balance(t.Context(), bert, anna.AccountID)
		wantFault(t, "Balance", err, fault.NotFound)
		_, err = c.Balance(t.Context(), operator, "acc_no")
		wantFault(t, "Balance of nobody", err, fault.NotFound)
		list, err := c.VMs(t.Context(), bert, control.VMFilter{IDs: []string{id}})
		c.must("VMs", err)
		want(t, "VMs", len(list), 0)
		list, err = c.VMs(t.Context(), anna, control.VMFilter{IDs: []string{strings.ToLower(id), "x"}})
		c.must("VMs", err)
		want(t, "VMs in another spelling", len(list), 1)

		for name, call := range map[string]func(who account.Actor) error{
			"CreateAccount": func(who account.Actor) error {
				_, _, err := c.CreateAccount(t.Context(), who, "Eve", account.Operator)
				return err
			},
			"Accounts": func(who account.Actor) error { _, err := c.Accounts(t.Context(), who); return err },
			"Credit": func(who account.Actor) error {
				_, err := c.Credit(t.Context(), who, who.AccountID, gift(1))
				return err
			},
			"SetBalance": func(who account.Actor) error {
				_, err := c.SetBalance(t.Context(), who, who.AccountID, 1, "mine")
				return err
			},
			"Invite":       func(who account.Actor) error { _, err := c.Invite(t.Context(), who, invitation()); return err },
			"Reprice":      func(who account.Actor) error { return c.Reprice(t.Context(), who, "Nord", market.Prices{}) },
			"AdvanceClock": func(who account.Actor) error { _, err := c.AdvanceClock(t.Context(), who, time.Hour); return err },
		} {
			wantFault(t, name, call(anna), fault.Denied)
			wantFault(t, name+" by nobody", call(account.Actor{}), fault.Denied)
		}
		want(t, "balance", c.free(anna), 2*price)
		want(t, "time", c.clock.Now(), start)
		for name, secret := range map[string]string{"empty": "", "guessed": "cpu_0", "long": strings.Repeat("x", 257), "odd": "\x00\xff"} {
			_, err := c.Authenticate(t.Context(), secret)
			wantFault(t, name, err, fault.Denied)
		}
	})
}

// Whoever waits is told at once, and not before.
func TestWait(t *testing.T) {
	t.Parallel()
	dir := storetest.SQLite().URL(t)
	synctest.Test(t, func(t *testing.T) {
		db, err := store.Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		c := newCloud(t, db)
		a, anna := c.join(room(3)), c.account("Anna", 6*price)
		news, cancel := c.Changes(a.id)
		defer cancel()
		id := c.deploy(anna)
		select {
		case <-news:
		default:
			t.Error("the agent was not told of its new VM")
		}
		wait := func(id string, state vm.State, timeout <-chan time.Time) <-chan vm.State {
			got := make(chan vm.State, 1)
			go func() {
				v, err := c.WaitVM(t.Context(), anna, id, state, timeout)
				c.must("WaitVM", err)
				got <- v.State
			}()
			synctest.Wait()
			return got
		}
		told := func(what string, got <-chan vm.State, state vm.State) {
			t.Helper()
			synctest.Wait()
			select {
			case s := <-got:
				want(t, what, s, state)
			default:
				t.Errorf("%s: still waiting", what)
			}
		}
		first, second := wait(id, vm.Active, nil), wait(id, vm.Active, time.After(time.Minute))
		a.reports(vm.Preparing, id)
		synctest.Wait()
		want(t, "told too early", len(first)+len(second), 0)
		a.reports(vm.Ready, id)
		told("active", first, vm.Active)
		told("active", second, vm.Active)
		told("active already", wait(id, vm.Active, nil), vm.Active)

		failing, patient := c.deploy(anna), c.deploy(anna)
		failed, timed := wait(failing, vm.Active, nil), wait(patient, vm.Active, time.After(time.Minute))
		a.reports(vm.Broken, failing)
		told("failed", failed, vm.Failed)
		time.Sleep(time.Minute)
		told("timed out", timed, vm.New)
	})
}

// The control plane keeps its key over a restart.
func TestControlKey(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		before, signature := c.ControlKey(), c.Sign([]byte("hello"))
		c.restart()
		want(t, "key", c.ControlKey(), before)
		want(t, "signature is good", ed25519.Verify(c.ControlKey(), []byte("hello"), signature), true)
	})
}
