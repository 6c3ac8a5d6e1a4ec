package control_test

import (
	"slices"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// off is what a small VM costs per epoch while it is powered off.
const off = 25*1_700 + 1*90_000

// operate begins an action without a request id.
func (c *cloud) operate(who account.Actor, id string, a vm.Action, change control.Amendment) (vm.Operation, error) {
	c.t.Helper()
	return c.Operate(c.t.Context(), who, id, a, "", change)
}

func (c *cloud) came(who account.Actor, o vm.Operation) vm.Outcome {
	c.t.Helper()
	now, err := c.Operation(c.t.Context(), who, o.ID)
	c.must("Operation", err)
	return now.Outcome()
}

// A VM that is powered off keeps disk and address, costs these alone from its next
// epoch on, and leaves its vCPUs and memory to others. It is started for its old price.
func TestPower(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 10*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		address := c.stored(id).Address

		o, err := c.operate(anna, id, vm.Shutdown, control.Shutdown)
		c.must("shutdown", err)
		want(t, "wanted", a.orders()[0].Goal, vm.Halt)
		a.reports(vm.Ready, id) // it is about to obey
		want(t, "on its way", []any{c.stored(id).Power, c.came(anna, o), c.used()}, []any{vm.Stopping, vm.Going, room(1)})
		a.reports(vm.Halted, id)
		v := c.stored(id)
		want(t, "done", []any{v.Power, c.came(anna, o), v.Address}, []any{vm.Off, vm.Succeeded, address})
		want(t, "used", c.used(), capacity.Vector{StorageGiB: 25, Addresses: 1})
		want(t, "the epoch that has begun", purse(v), sum(vm.Active, price, price))
		c.sound()

		c.pass(epoch)
		v = c.stored(id)
		want(t, "the next one", []any{purse(v), v.Price}, []any{sum(vm.Active, off, price+off), money.Amount(off)})
		want(t, "what it needs no more is free", c.free(anna), 10*price-price-2*off)
		want(t, "earned", c.income(v.ProviderID), price+off)
		c.pass(2 * epoch)
		want(t, "and so on", purse(c.stored(id)), sum(vm.Active, off, price+3*off))
		c.sound()

		c.pass(epoch / 2)
		o, err = c.operate(anna, id, vm.Start, c.Start)
		c.must("start", err)
		v = c.stored(id)
		want(t, "half of the epoch is taken off", purse(v), sum(vm.Active, price, price+3*off-off/2+price))
		want(t, "a new epoch", v.NextBilling, c.clock.Now().Add(epoch).UTC())
		want(t, "wanted", []any{a.orders()[0].Goal, a.orders()[0].Address, c.used()}, []any{vm.Run, address, room(1)})
		c.sound()
		a.reports(vm.Ready, id)
		want(t, "runs", c.came(anna, o), vm.Succeeded)

		c.must("within an epoch", first(c.operate(anna, id, vm.Shutdown, control.Shutdown)))
		a.reports(vm.Halted, id)
		c.must("start", first(c.operate(anna, id, vm.Start, c.Start)))
		want(t, "costs nothing more", purse(c.stored(id)), sum(vm.Active, price, price+3*off-off/2+price))
		c.pass(epoch)
		want(t, "the next one is whole", c.stored(id).Price, price)
		c.audit()
		c.sound()
	})
}

func first[T any](_ T, err error) error { return err }

// Whose vCPUs and memory others have by now is not started, and nothing has begun.
func TestStartWithoutRoom(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(1).Add(capacity.Vector{StorageGiB: 25, Addresses: 1}))
		anna, bert := c.account("Anna", 10*price), c.account("Bert", 10*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.must("shutdown", first(c.operate(anna, id, vm.Shutdown, control.Shutdown)))
		a.reports(vm.Halted, id)
		other := c.deploy(bert)
		before := c.stored(id)
		_, err := c.operate(anna, id, vm.Start, c.Start)
		wantFault(t, "start", err, fault.Conflict)
		want(t, "nothing changed", c.stored(id), before)
		c.remove(bert, other)
		a.reports(vm.Absent, other)
		c.must("start", first(c.operate(anna, id, vm.Start, c.Start)))
		c.sound()
	})
}

// A VM that stays powered off is charged from the reserve of when it ran; without
// money it is kept as every other one, and paid for it is as it was: off.
func TestOffWithoutMoney(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		const price = price + 2*(100_000-11)
		in := invitation()
		in.Prices.VCPU = 100_000
		a, anna := c.joinUnder(in, room(1)), c.account("Anna", 2*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.must("shutdown", first(c.operate(anna, id, vm.Shutdown, control.Shutdown)))
		a.reports(vm.Halted, id)
		for range 100 {
			c.pass(epoch)
			c.sound()
			if c.stored(id).State == vm.InsufficientFunds {
				break
			}
		}
		v := c.stored(id)
		want(t, "state", v.State, vm.InsufficientFunds)
		want(t, "epochs", v.Epochs, int64(1+price/off))
		_, err := c.operate(anna, id, vm.Start, c.Start)
		wantFault(t, "start", err, fault.Conflict)
		c.pay("some", anna.AccountID, 3*off)
		v = c.stored(id)
		want(t, "paid", []any{v.State, v.Power, a.orders()[0].Goal}, []any{vm.Active, vm.Off, vm.Halt})
		_, err = c.operate(anna, id, vm.Start, c.Start)
		wantFault(t, "start without money", err, fault.Unaffordable)
		c.pay("more", anna.AccountID, 2*price)
		c.must("start", first(c.operate(anna, id, vm.Start, c.Start)))
		c.audit()
		c.sound()
	})
}

// Shutting down is called off by a start, and one whose server never says that it is off
// costs what it did.
func TestShutdownThatIsNotSeen(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 10*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		o, err := c.operate(anna, id, vm.Shutdown, control.Shutdown)
		c.must("shutdown", err)
		c.pass(epoch)
		want(t, "given up", c.came(anna, o), vm.GaveUp)
		want(t, "costs what it did", purse(c.stored(id)), sum(vm.Active, price, 2*price))
		late := c.stored(id).Generation
		c.must("start", first(c.operate(anna, id, vm.Start, c.Start)))
		c.must("a late report", a.sees(vm.Sighting{ID: id, Generation: late, Phase: vm.Halted}))
		want(t, "is on", []any{c.stored(id).Power, c.used()}, []any{vm.On, room(1)})
		c.sound()
	})
}

// A limit on what runs holds for what is started again, too.
func TestStartWithinLimits(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(2)), c.account("Anna", 20*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.must("shutdown", first(c.operate(anna, id, vm.Shutdown, control.Shutdown)))
		a.reports(vm.Halted, id)
		c.pass(epoch)
		limit := price - 1
		_, err := c.SetLimits(t.Context(), anna, account.Limits{Running: &limit})
		c.must("SetLimits", err)
		_, err = c.operate(anna, id, vm.Start, c.Start)
		wantFault(t, "start", err, fault.Exhausted)
		limit = price
		_, err = c.SetLimits(t.Context(), anna, account.Limits{Running: &limit})
		c.must("SetLimits", err)
		c.must("start", first(c.operate(anna, id, vm.Start, c.Start)))
		c.sound()
	})
}

// A deleted VM is kept for a while, for nothing, and can be had back with its disk and
// address; then it is purged.
func TestUndelete(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.keep = 24 * time.Hour
		c.restart()
		a, anna, bert := c.join(room(2)), c.account("Anna", 10*price), c.account("Bert", price)
		id, young := c.deploy(anna), c.deploy(anna)
		a.reports(vm.Ready, id)
		c.remove(anna, young)
		want(t, "one that never ran is not kept", c.stored(young).Goal, vm.Remove)
		a.reports(vm.Absent, young)

		d, err := c.Delete(t.Context(), anna, id, false)
		c.must("Delete", err)
		want(t, "kept until", d.KeptUntil, c.clock.Now().Add(c.keep).UTC())
		v := c.stored(id)
		want(t, "deleted", []any{purse(v), a.orders()[0].Goal, c.free(anna)}, []any{sum(vm.Stopped, 0, price), vm.Halt, 9 * price})
		want(t, "listed", []int{len(c.listed(anna, control.VMFilter{})), len(c.listed(anna, control.VMFilter{Deleted: true}))}, []int{0, 1})
		want(t, "of others", len(c.listed(bert, control.VMFilter{Deleted: true})), 0)
		a.reports(vm.Halted, id)
		want(t, "used", c.used(), capacity.Vector{StorageGiB: 25, Addresses: 1})
		c.sound()
		_, err = c.Delete(t.Context(), anna, id, false)
		c.must("Delete again", err)
		want(t, "is not put off", c.stored(id).KeptUntil, d.KeptUntil)

		c.pass(23 * time.Hour)
		_, err = c.operate(bert, id, vm.Undelete, c.Undelete)
		wantFault(t, "undelete by a stranger", err, fault.NotFound)
		o, err := c.operate(anna, id, vm.Undelete, c.Undelete)
		c.must("undelete", err)
		want(t, "starts", []any{purse(c.stored(id)), a.orders()[0].Goal, a.orders()[0].Address}, []any{sum(vm.Launching, 2*price, price), vm.Run, v.Address})
		c.pass(10 * time.Minute)
		a.reports(vm.Ready, id)
		want(t, "runs", []any{purse(c.stored(id)), c.came(anna, o)}, []any{sum(vm.Active, price, 2*price), vm.Succeeded})
		c.sound()

		c.remove(anna, id)
		a.reports(vm.Halted, id)
		c.pass(24*time.Hour - time.Second)
		want(t, "still kept", a.orders()[0].Goal, vm.Halt)
		c.pass(time.Second)
		want(t, "purged", a.orders()[0].Goal, vm.Remove)
		a.reports(vm.Absent, id)
		want(t, "used", c.used(), room(0))
		_, err = c.operate(anna, id, vm.Undelete, c.Undelete)
		wantFault(t, "undelete", err, fault.NotFound)
		want(t, "free", c.free(anna), 8*price)
		c.audit()
		c.sound()
	})
}

func (c *cloud) listed(who account.Actor, f control.VMFilter) []control.VM {
	c.t.Helper()
	list, err := c.VMs(c.t.Context(), who, f)
	c.must("VMs", err)
	return list
}

// Who can't pay for a deleted VM does not get it back, and may purge it at once.
func TestUndeleteRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.keep = 24 * time.Hour
		c.restart()
		a, anna := c.join(room(1)), c.account("Anna", 2*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.remove(anna, id)
		before := c.stored(id)
		_, err := c.operate(anna, id, vm.Undelete, c.Undelete)
		wantFault(t, "undelete", err, fault.Unaffordable)
		want(t, "nothing changed", c.stored(id), before)
		d, err := c.Delete(t.Context(), anna, id, true)
		c.must("purge", err)
		want(t, "purged", []any{d.KeptUntil.IsZero(), a.orders()[0].Goal}, []any{true, vm.Remove})
		c.sound()
	})
}

// A server that is drained keeps no deleted VM for longer.
func TestDrainPurgesDeleted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.keep = 90 * 24 * time.Hour
		c.restart()
		a, anna := c.join(room(1)), c.account("Anna", 2*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.remove(anna, id)
		_, err := c.Drain(t.Context(), operator, "Nord", a.id, time.Hour, "")
		c.must("Drain", err)
		want(t, "before", a.orders()[0].Goal, vm.Halt)
		c.pass(time.Hour)
		want(t, "after", a.orders()[0].Goal, vm.Remove)
		c.sound()
	})
}

// configuration returns the smallest one with so many vCPUs and GiB of memory.
func configuration(vcpu, ram int64) market.Configuration {
	all := market.Configurations()
	return all[slices.IndexFunc(all, func(c market.Configuration) bool { return c.VCPU == vcpu && c.RAMGiB == ram })]
}

// A VM that runs has both sizes of its server until it runs in the new one; its price
// rises at once, and falls with the next epoch.
func TestResize(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		large := configuration(4, 8)
		full := prices.Of(capacity.Vector{VCPU: large.VCPU, RAMGiB: large.RAMGiB, StorageGiB: 40, Addresses: 1})
		a, anna := c.join(room(3)), c.account("Anna", 100*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		size := control.Size{Configuration: large.Slug(), StorageGiB: 40}
		_, err := c.operate(anna, id, vm.Resize, c.Resize(size))
		wantFault(t, "for more than it costs", err, fault.Unsatisfiable)
		size.MaxPrice = &full
		o, err := c.operate(anna, id, vm.Resize, c.Resize(size))
		c.must("resize", err)
		v := c.stored(id)
		want(t, "price", []any{v.Price, v.Reserved, v.Spent}, []any{full, full, full}) // nothing of the first epoch had passed
		got := a.orders()[0]
		want(t, "wanted", []any{got.VCPU, got.RAMGiB, got.StorageGiB, got.Restart}, []any{large.VCPU, large.RAMGiB, int64(40), v.Generation})
		want(t, "used", c.used(), capacity.Vector{VCPU: large.VCPU, RAMGiB: large.RAMGiB, StorageGiB: 40, Addresses: 1})
		c.sound()
		a.reports(vm.Ready, id)
		want(t, "done", c.came(anna, o), vm.Succeeded)

		_, err = c.operate(anna, id, vm.Resize, c.Resize(control.Size{StorageGiB: 39}))
		wantFault(t, "a smaller disk", err, fault.Invalid)
		_, err = c.operate(anna, id, vm.Resize, c.Resize(control.Size{Configuration: "cpu-3"}))
		wantFault(t, "an unknown configuration", err, fault.Invalid)
		_, err = c.operate(anna, id, vm.Resize, c.Resize(control.Size{Configuration: configuration(8, 16).Slug(), MaxPrice: new(money.Max)}))
		wantFault(t, "more than its server has", err, fault.Conflict)

		c.must("resize", first(c.operate(anna, id, vm.Resize, c.Resize(control.Size{Configuration: small.Slug()}))))
		want(t, "used until it runs", c.used().VCPU, large.VCPU)
		c.sound()
		a.reports(vm.Ready, id)
		v = c.stored(id)
		want(t, "used", c.used(), capacity.Vector{VCPU: small.VCPU, RAMGiB: small.RAMGiB, StorageGiB: 40, Addresses: 1})
		want(t, "price until the epoch is over", []any{v.Price, v.Cheaper}, []any{full, true})
		c.pass(epoch)
		want(t, "after", c.stored(id).Price, prices.Of(capacity.Vector{VCPU: small.VCPU, RAMGiB: small.RAMGiB, StorageGiB: 40, Addresses: 1}))
		c.audit()
		c.sound()
	})
}

// What a VM holds of its server's storage beside its disk is taken and paid.
func TestHold(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(2)), c.account("Anna", 10*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		hold := func(gib int64) error {
			return c.db.Write(t.Context(), func(tx *store.Tx) error {
				v, err := tx.VM(t.Context(), id)
				if err != nil {
					return err
				}
				v.Generation++
				if err := c.Hold(t.Context(), tx, &v, gib); err != nil {
					return err
				}
				return tx.UpdateVM(t.Context(), v)
			})
		}
		wantFault(t, "more than there is", hold(26), fault.Conflict)
		c.pass(epoch / 4)
		c.must("hold", hold(10))
		want(t, "used", c.used().StorageGiB, int64(35))
		want(t, "price", c.stored(id).Price, price+10*1_700)
		c.sound()
		c.must("let go", hold(-10))
		want(t, "used", c.used().StorageGiB, int64(25))
		want(t, "price of the epoch", c.stored(id).Price, price+10*1_700)
		c.pass(epoch)
		want(t, "price after", c.stored(id).Price, price)
		c.sound()
	})
}
