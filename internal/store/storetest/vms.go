package storetest

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

func (d *db) insert(list ...vm.VM) {
	d.t.Helper()
	d.write(func(ctx context.Context, tx *store.Tx) error {
		for _, v := range list {
			if err := tx.InsertVM(ctx, v); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *db) vm(id string) vm.VM {
	d.t.Helper()
	return look(d, func(ctx context.Context, tx *store.Tx) (vm.VM, error) { return tx.VM(ctx, id) })
}

// names returns what a list of VMs is called.
func names(list []vm.VM) []string {
	out := []string{}
	for _, v := range list {
		out = append(out, v.Name)
	}
	return out
}

var vms = map[string]func(*db){
	"a VM comes back as it went in": func(d *db) {
		d.furnish()
		v := machine(1)
		d.insert(v)
		d.same("VM", d.vm(v.ID), stored(v))
		d.refuses("an unknown VM", fault.NotFound, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.VM(ctx, "0x")
			return err
		})
		d.refuses("a VM twice", fault.Internal, func(ctx context.Context, tx *store.Tx) error { return tx.InsertVM(ctx, v) })
	},
	"a VM that never was anything": func(d *db) {
		d.furnish()
		v := machine(1)
		v.Power, v.Full = vm.On, v.Parts
		v.Deadline, v.ActivatedAt, v.NextBilling, v.EndedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		d.insert(v)
		d.same("VM", d.vm(v.ID), stored(v))
	},
	"what can change does": func(d *db) {
		d.furnish()
		v, other := machine(1), machine(2)
		d.insert(v, other)
		changed := v
		changed.Name, changed.Spec.Ports, changed.Goal, changed.Generation, changed.Reached = "new", []vm.Port{}, vm.Remove, 9, 8
		changed.State, changed.Since, changed.Reason, changed.Deadline = vm.Active, now.Add(1), "", time.Time{}
		changed.Spent, changed.ActivatedAt, changed.NextBilling, changed.EndedAt = 70, now.Add(2000), now.Add(3000), now.Add(4000)
		changed.Gone = true
		changed.Asks = vm.Asks{Cut: 2, Restart: 3, Abrupt: true}
		changed.Power, changed.Leaves, changed.Held, changed.Cheaper, changed.KeptUntil = vm.Off, capacity.Vector{VCPU: 9, RAMGiB: 8}, 7, true, now.Add(5000)
		changed.Price, changed.Parts, changed.Full = 10, vm.Parts{1, 2, 3, 4}, vm.Parts{4, 3, 2, 1}
		want := stored(changed)
		changed.AccountID, changed.Reserved = bert, 1 // these don't
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.UpdateVM(ctx, changed) })
		d.same("VM", d.vm(v.ID), want)
		d.same("the other VM", d.vm(other.ID), stored(other))
	},
	"the reserve is the ledger's": func(d *db) {
		d.furnish()
		v := machine(1)
		d.insert(v, machine(2))
		d.post(ledger.Credit(now, anna, 100, "", "1"))
		hold, err := ledger.Reservation(now, anna, v.ID, 30)
		if err != nil {
			d.t.Fatal(err)
		}
		d.post(hold)
		d.post(ledger.Rent(now, v.AccountID, v.ID, prov, 25, 1))
		d.same("VM", d.vm(v.ID).Reserved, amount(35))
		d.same("another VM", d.vm(machine(2).ID).Reserved, amount(0))
		list := look(d, func(ctx context.Context, tx *store.Tx) ([]vm.VM, error) { return tx.ServerVMs(ctx, server) })
		d.same("in a list", list[0].Reserved, amount(35))
	},
	"what no VM can be": func(d *db) {
		d.furnish()
		for name, spoil := range map[string]func(*vm.VM){
			"an unknown state": func(v *vm.VM) { v.State = "Gone" },
			"an unknown goal":  func(v *vm.VM) { v.Goal = "" },
			"a negative price": func(v *vm.VM) { v.Price = -1 },
			"no epoch":         func(v *vm.VM) { v.Epoch = 0 },
		} {
			v := machine(1)
			spoil(&v)
			d.refuses(name, fault.Internal, func(ctx context.Context, tx *store.Tx) error { return tx.InsertVM(ctx, v) })
		}
		for _, state := range []vm.State{
			vm.New, vm.Launching, vm.Active, vm.SmallBalance, vm.InsufficientFunds, vm.Terminated, vm.Stopped, vm.Failed,
		} {
			v := machine(1)
			v.State = state
			stop := errors.New("stop")
			err := d.try(func(ctx context.Context, tx *store.Tx) error { return errors.Join(tx.InsertVM(ctx, v), stop) })
			if !errors.Is(err, stop) || contains(err, "INSERT") {
				d.t.Errorf("state %s: %v", state, err)
			}
		}
	},
	"an address has one VM on its server until that is gone": func(d *db) {
		d.furnish()
		first, second := machine(1), machine(2)
		second.Address = first.Address
		d.insert(first)
		first.State, first.Goal = vm.Stopped, vm.Remove
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.UpdateVM(ctx, first) })
		d.refuses("the address of a VM that is still there", fault.Internal, func(ctx context.Context, tx *store.Tx) error { return tx.InsertVM(ctx, second) })
		first.Gone = true
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.UpdateVM(ctx, first) })
		d.insert(second)
	},
	"lists": func(d *db) {
		d.furnish()
		foreign, deleted, failed, old := machine(1), machine(2), machine(3), machine(4)
		foreign.AccountID = bert
		deleted.State = vm.Stopped
		failed.State = vm.Failed
		old.CreatedAt = now.Add(-time.Hour)
		d.insert(machine(5), foreign, deleted, failed, old)
		for name, c := range map[string]struct {
			f    store.Filter
			want []string
		}{
			"all, oldest first":  {store.Filter{}, []string{"vm-4", "vm-1", "vm-3", "vm-5"}},
			"of an account":      {store.Filter{AccountID: anna}, []string{"vm-4", "vm-3", "vm-5"}},
			"of nobody":          {store.Filter{AccountID: "'; --"}, []string{}},
			"by id":              {store.Filter{AccountID: anna, IDs: []string{machine(3).ID, machine(1).ID, machine(2).ID, "0x"}}, []string{"vm-3"}},
			"by state":           {store.Filter{States: []vm.State{vm.Failed, vm.Stopped}}, []string{"vm-3"}},
			"by datacenter":      {store.Filter{DatacenterID: center}, []string{"vm-4", "vm-1", "vm-3", "vm-5"}},
			"in another":         {store.Filter{DatacenterID: "dc_2"}, []string{}},
			"ended since":        {store.Filter{EndedSince: machine(4).EndedAt}, []string{"vm-4", "vm-5"}},
			"the first page":     {store.Filter{Limit: 3}, []string{"vm-4", "vm-1", "vm-3"}},
			"the second page":    {store.Filter{Limit: 3, Offset: 3}, []string{"vm-5"}},
			"behind the last":    {store.Filter{Limit: 3, Offset: 6}, []string{}},
			"several conditions": {store.Filter{AccountID: anna, States: []vm.State{vm.Launching}, Limit: 1, Offset: 1}, []string{"vm-5"}},
		} {
			list := look(d, func(ctx context.Context, tx *store.Tx) ([]vm.VM, error) { return tx.VMs(ctx, c.f) })
			d.same(name, names(list), c.want)
		}
	},
	"what is on a server": func(d *db) {
		d.furnish()
		gone, leaving := machine(1), machine(2)
		gone.Gone = true
		leaving.State = vm.Stopped
		d.insert(machine(3), gone, leaving)
		list := look(d, func(ctx context.Context, tx *store.Tx) ([]vm.VM, error) { return tx.ServerVMs(ctx, server) })
		d.same("ServerVMs by id", names(list), []string{"vm-2", "vm-3"})
		list = look(d, func(ctx context.Context, tx *store.Tx) ([]vm.VM, error) { return tx.ServerVMs(ctx, "srv_no") })
		d.same("of an unknown server", names(list), []string{})
		taken := look(d, func(ctx context.Context, tx *store.Tx) (map[netip.Addr]bool, error) {
			return tx.TakenAddresses(ctx, server)
		})
		d.same("TakenAddresses", taken, map[netip.Addr]bool{leaving.Address: true, machine(3).Address: true})
	},
	"what is overdue": func(d *db) {
		d.furnish()
		for n, deadline := range map[int]time.Time{1: now.Add(-time.Second), 2: now.Add(-time.Minute), 3: now, 4: now.Add(time.Microsecond), 5: {}} {
			v := machine(n)
			v.Deadline = deadline
			d.insert(v)
		}
		overdue := func(limit int) []string {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]string, error) { return tx.OverdueVMs(ctx, now, limit) })
		}
		d.same("OverdueVMs", overdue(10), []string{machine(2).ID, machine(1).ID, machine(3).ID})
		d.same("the first two", overdue(2), []string{machine(2).ID, machine(1).ID})
	},
	"a timeline": func(d *db) {
		d.furnish()
		v, other := machine(1), machine(2)
		d.insert(v, other)
		put := func(key, text string, at time.Time) {
			d.write(func(ctx context.Context, tx *store.Tx) error {
				return tx.PutEvent(ctx, v.ID, vm.Event{At: at, Key: key, Text: text})
			})
		}
		put("b", "first", now)
		put("a", "second, at the same time", now)
		put("z", "earlier", now.Add(-time.Second))
		put("b", "first, told again", now.Add(time.Hour))
		events := func(id string) []vm.Event {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]vm.Event, error) { return tx.Events(ctx, id) })
		}
		d.same("Events", events(v.ID), []vm.Event{
			{At: now.Add(-time.Second).UTC(), Key: "z", Text: "earlier"},
			{At: now.UTC(), Key: "b", Text: "first, told again"},
			{At: now.UTC(), Key: "a", Text: "second, at the same time"},
		})
		d.same("Events of another", events(other.ID), []vm.Event{})
	},
}
