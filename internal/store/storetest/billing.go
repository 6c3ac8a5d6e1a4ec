package storetest

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// due returns the names of VMs in the order in which they are taken.
func (d *db) due(get func(ctx context.Context, tx *store.Tx, take func(store.Due) error) error) (names []string) {
	d.t.Helper()
	for _, v := range d.dues(get) {
		names = append(names, v.ID)
	}
	return names
}

func (d *db) dues(get func(ctx context.Context, tx *store.Tx, take func(store.Due) error) error) (list []store.Due) {
	d.t.Helper()
	d.read(func(ctx context.Context, tx *store.Tx) error {
		return get(ctx, tx, func(v store.Due) error {
			list = append(list, v)
			return nil
		})
	})
	return list
}

var billing = map[string]func(*db){
	"what is due comes in order, in parts": func(d *db) {
		d.furnish()
		var list []vm.VM
		for n, next := range map[int]time.Duration{1: 3, 2: 1, 3: 1, 4: 9, 5: 2, 6: 2} {
			v := machine(n)
			v.State, v.NextBilling = vm.Active, now.Add(next*time.Hour)
			if n >= 5 {
				v.State = vm.SmallBalance
			}
			list = append(list, v)
		}
		d.insert(list...)
		after := func(behind store.DuePlace, hours, grace time.Duration, limit int) []string {
			return d.due(func(ctx context.Context, tx *store.Tx, take func(store.Due) error) error {
				return tx.EachDue(ctx, behind, now.Add(hours*time.Hour), grace*time.Hour, limit, take)
			})
		}
		id := func(n int) string { return machine(n).ID }
		d.same("all", after(store.DuePlace{}, 9, 0, 9), []string{id(2), id(3), id(5), id(6), id(1), id(4)})
		d.same("in a grace that is not over", after(store.DuePlace{}, 3, 2, 9), []string{id(2), id(3), id(1)})
		d.same("the first ones", after(store.DuePlace{}, 9, 0, 1), []string{id(2)})
		d.same("the next one, due at the same time", after(store.DuePlace{Since: now.Add(time.Hour), ID: id(2)}, 9, 0, 1), []string{id(3)})
		d.same("what is due later", after(store.DuePlace{}, 1, 0, 9), []string{id(2), id(3)})
	},
	"who can pay comes in order, in parts": func(d *db) {
		d.furnish()
		var list []vm.VM
		for n, state := range map[int]vm.State{1: vm.SmallBalance, 2: vm.InsufficientFunds, 3: vm.SmallBalance, 4: vm.Active, 5: vm.SmallBalance} {
			v := machine(n)
			v.State, v.Since, v.Price, v.AccountID = state, now.Add(-time.Duration(n)*time.Hour), 10, anna
			if n == 5 {
				v.AccountID = bert
			}
			list = append(list, v)
		}
		d.insert(list...)
		can := func(behind store.DuePlace, limit int) []string {
			return d.due(func(ctx context.Context, tx *store.Tx, take func(store.Due) error) error {
				return tx.EachPayable(ctx, behind, limit, take)
			})
		}
		id := func(n int) string { return machine(n).ID }
		d.same("nobody has anything", can(store.DuePlace{}, 9), []string(nil))
		d.post(ledger.Credit(now, anna, 10, "", "1"))
		d.same("one epoch", can(store.DuePlace{}, 9), []string{id(3), id(1)})
		d.post(ledger.Credit(now, anna, 10, "", "2"))
		d.same("two", can(store.DuePlace{}, 9), []string{id(3), id(2), id(1)})
		d.same("behind the first", can(store.DuePlace{Since: now.Add(-3 * time.Hour), ID: id(3)}, 1), []string{id(2)})
	},
	"what is billed is read and written": func(d *db) {
		d.furnish()
		v := machine(1)
		v.State, v.NextBilling, v.Price, v.Spent = vm.Active, now, 30, 30
		d.insert(v, machine(2))
		d.post(ledger.Credit(now, v.AccountID, 100, "", "1"))
		hold, err := ledger.Reservation(now, v.AccountID, v.ID, 30)
		if err != nil {
			d.t.Fatal(err)
		}
		d.post(hold)
		read := func() []store.Due {
			return d.dues(func(ctx context.Context, tx *store.Tx, take func(store.Due) error) error {
				return tx.EachDue(ctx, store.DuePlace{}, now, 0, 1, take)
			})
		}
		list := read()
		d.same("standings", []any{list[0].Reserve.Amount, list[0].Customer.Amount, list[0].Reserve.Head == list[0].Customer.Head}, []any{amount(60), amount(40), true})
		bill := func(change func(*vm.VM)) {
			d.write(func(ctx context.Context, tx *store.Tx) error {
				change(&list[0].VM)
				tx.Know(list)
				sheet, err := tx.Sheet(ctx, ledger.Pending(prov))
				if err != nil {
					return err
				}
				list[0].Epochs++
				return errors.Join(sheet.Post(ledger.Rent(now, v.AccountID, v.ID, prov, 30, list[0].Epochs)), tx.StoreBilled(ctx, list))
			})
		}
		bill(func(v *vm.VM) { v.Spent, v.Settled = 60, 7 })
		got := d.vm(v.ID)
		d.same("paid", []any{got.Spent, got.Epochs, got.Settled, got.State, got.Reserved, got.Reason}, []any{amount(60), v.Epochs + 1, int64(7), vm.Active, amount(30), v.Reason})
		d.same("earned", d.balance(ledger.Pending(prov)), amount(30))
		list = read()
		bill(func(v *vm.VM) {
			v.State, v.Since, v.Reason, v.Goal, v.Deadline, v.Generation = vm.SmallBalance, now, "short", vm.Halt, now, 99
		})
		got = d.vm(v.ID)
		d.same("moved on", []any{got.State, got.Since, got.Reason, got.Goal, got.Deadline, got.Generation}, []any{vm.SmallBalance, now.UTC(), "short", vm.Halt, now.UTC(), int64(99)})
		d.same("the other VM", d.vm(machine(2).ID), stored(machine(2)))
	},
	"who waits is noticed": func(d *db) {
		ended := make(chan error, 1)
		d.write(func(ctx context.Context, tx *store.Tx) error {
			if tx.Awaited() {
				return errors.New("somebody waits")
			}
			go func() { ended <- d.Write(ctx, func(*store.Tx) error { return nil }) }()
			for !tx.Awaited() {
				if err := ctx.Err(); err != nil {
					return err
				}
				runtime.Gosched()
			}
			return nil
		})
		d.same("the other", <-ended, error(nil))
	},
}
