package control_test

import (
	"context"
	"fmt"
	"net/netip"
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

// Whatever entries there are, in whatever order of time: a month's opening and its
// entries come to its closing, which is the next one's opening; and the sums by
// kind, VM, day and resource are those of the entries.
func TestStatementsAddUp(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		property(t, e, func(rt *rapid.T) {
			db := e.Open(t)
			defer func() { _ = db.Close() }() // rather than hundreds of them at the end of the test
			c := newCloud(rt, db)
			who := []account.Actor{c.account("Anna", 0), c.account("Bert", 0)}
			c.post(rt, who)
			for _, a := range who {
				purse := ledger.Purse{}
				for _, month := range []string{"2026-01", "2026-02", "2026-03", "2026-04", "2026-05"} {
					purse = c.checkStatement(rt, a, month, purse)
				}
				b, err := c.Balance(rt.Context(), a, a.AccountID)
				c.must("Balance", err)
				want(rt, "the last closing", purse, ledger.Purse{Free: b.Free, Reserved: b.Reserved})
			}
		})
	})
}

// post writes random entries of accounts with two VMs each.
func (c *cloud) post(rt *rapid.T, who []account.Actor) {
	var vms []vm.VM
	for i, a := range who {
		for j := range 2 {
			v := vm.VM{
				ID: fmt.Sprintf("0x%039d%d", i, j), AccountID: a.AccountID, ServerID: "srv", Name: fmt.Sprint("vm-", j), Goal: vm.Run, State: vm.Active, Epoch: epoch,
				Address: netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j)}),
			}
			if j == 0 {
				v.Parts = vm.Parts{3, 2, 1, 1}
			}
			vms = append(vms, v)
		}
	}
	c.must("write entries", c.db.Write(rt.Context(), func(tx *store.Tx) error {
		if err := tx.StoreOrders(rt.Context(), store.Orders{VMs: vms}); err != nil {
			return err
		}
		for i := range rapid.IntRange(0, 40).Draw(rt, "entries") {
			v := rapid.SampledFrom(vms).Draw(rt, "VM")
			at := time.Date(2026, 1, 30, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, 75*24).Draw(rt, "hour")) * time.Hour)
			amount, own, reserve := money.Amount(rapid.Int64Range(1, 99).Draw(rt, "amount")), ledger.Customer(v.AccountID), ledger.Reserve(v.ID)
			e := ledger.Entry{At: at, Amount: amount, VM: v.ID, Key: fmt.Sprint("entry:", i), Reason: "so it is"}
			switch e.Kind = rapid.SampledFrom(control.CustomerKinds).Draw(rt, "kind"); e.Kind {
			case ledger.Deposit:
				e.From, e.To, e.VM = ledger.External, own, ""
			case ledger.Withdrawal:
				e.From, e.To, e.VM = own, ledger.External, ""
			case ledger.Hold, ledger.TopUp:
				e.From, e.To = own, reserve
			case ledger.Refund:
				e.From, e.To = reserve, own
			case ledger.Charge:
				e.From, e.To, e.Customer, e.Epoch = reserve, ledger.Pending("prv"), v.AccountID, 1
			case ledger.Return:
				e.From, e.To, e.Customer, e.Epoch = ledger.Pending("prv"), reserve, v.AccountID, 1
			case ledger.Settle, ledger.Commission, ledger.Request, ledger.Restore:
			}
			if _, err := tx.Post(rt.Context(), e); err != nil && !fault.Is(err, fault.Unaffordable) {
				return err
			}
		}
		return nil
	}))
}

// checkStatement checks a statement that begins with a purse, and returns the one
// that it ends with.
func (c *cloud) checkStatement(rt *rapid.T, who account.Actor, month string, before ledger.Purse) ledger.Purse {
	st, err := c.Statement(rt.Context(), who, month)
	c.must("Statement", err)
	want(rt, month+": opening", st.Opening, before)
	kinds, counts := map[ledger.Kind]money.Amount{}, map[ledger.Kind]int64{}
	var total ledger.Spend
	last := store.Mark{}
	c.must("Each", st.Each(rt.Context(), func(i control.StatementItem) error {
		before = before.Plus(i.Change)
		want(rt, "after an entry", i.After, before)
		kinds[i.Kind] += i.Amount
		counts[i.Kind]++
		total.Add(i.Kind, i.Amount, 1)
		want(rt, month+": in its time and order", []bool{i.At.Before(st.From), i.At.Before(st.To), i.At.Before(last.At)}, []bool{false, true, false})
		last = i.Mark()
		return nil
	}))
	want(rt, month+": closing", st.Closing, before)
	want(rt, month+": spent", st.Total, total)
	want(rt, month+": kinds", len(st.Kinds), len(kinds))
	for _, k := range st.Kinds {
		want(rt, "kind", k, store.KindSum{Kind: k.Kind, Count: counts[k.Kind], Amount: kinds[k.Kind]})
	}
	for name, rows := range map[string][]store.SpendRow{"VM": st.VMs, "day": st.Days, "resource": st.Parts} {
		var sum ledger.Spend
		for _, r := range rows {
			sum = sum.Plus(r.Spend)
		}
		if name == "resource" {
			sum.Epochs = total.Epochs // each part has them
		}
		want(rt, month+": by "+name, sum, total)
	}
	for by, rows := range map[control.SpendBy][]store.SpendRow{control.SpendByVM: st.VMs, control.SpendByDay: st.Days, control.SpendByResource: st.Parts} {
		spend, err := c.Spend(rt.Context(), who, by, st.From, st.To, nil)
		c.must("Spend", err)
		want(rt, month+": spend by "+string(by), []any{spend.Total, spend.Rows, spend.Rest}, []any{st.Total, rows, ledger.Spend{}})
	}
	return st.Closing
}

// A statement tells what was there when it was asked for, whatever comes while it
// is read, and has few entries in memory at once.
func TestStatementWhileEntriesCome(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna := c.account("Anna", 0)
		const entries = 2_500
		c.must("write", c.db.Write(t.Context(), func(tx *store.Tx) error {
			list := make([]ledger.Entry, entries)
			for i := range list {
				list[i] = ledger.Credit(start, anna.AccountID, 1, "", fmt.Sprint("many:", i)) // all at one time
			}
			return tx.PostAll(t.Context(), list)
		}))
		st, err := c.Statement(t.Context(), anna, "")
		c.must("Statement", err)
		n := 0
		c.must("Each", st.Each(t.Context(), func(control.StatementItem) error {
			if n++; n == 1 {
				c.pay("one more", anna.AccountID, 5)
			}
			return nil
		}))
		want(t, "entries and closing", []any{n, st.Closing}, []any{entries, ledger.Purse{Free: entries}})
		ctx, stop := context.WithCancel(t.Context())
		n = 0
		err = st.Each(ctx, func(control.StatementItem) error {
			if n++; n == 10 {
				stop()
			}
			return nil
		})
		want(t, "one that nobody reads on ends", []bool{err != nil, n < entries}, []bool{true, true})
	})
}

// The VMs of before the parts of prices were kept are divided as their offer asks now.
func TestSpendOfOldVMs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 9*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		parts := c.stored(id).Parts
		want(t, "parts", parts, vm.Parts{22, 920, 42_500, 90_000})
		rows := func() []store.SpendRow {
			spend, err := c.Spend(t.Context(), anna, control.SpendByResource, time.Time{}, time.Time{}, nil)
			c.must("Spend", err)
			return spend.Rows
		}
		want(t, "of the new VM", rows()[0], store.SpendRow{Key: "vcpu", Spend: ledger.Spend{Charged: 22, Epochs: 1}})
		old := c.stored(id)
		old.ID, old.Parts, old.Address = "0x0000000000000000000000000000000000000001", vm.Parts{}, old.Address.Next()
		c.must("write a VM of before", c.db.Write(t.Context(), func(tx *store.Tx) error {
			if err := tx.InsertVM(t.Context(), old); err != nil {
				return err
			}
			hold, err := ledger.Reservation(start, anna.AccountID, old.ID, price)
			if err != nil {
				return err
			}
			return tx.PostAll(t.Context(), []ledger.Entry{hold, ledger.Rent(start, old.AccountID, old.ID, old.ProviderID, price, 1)})
		}))
		var sum money.Amount
		for i, r := range rows() {
			want(t, "of both", r.Spend, ledger.Spend{Charged: 2 * parts[i], Epochs: 2})
			sum += r.Net()
		}
		want(t, "in all", sum, 2*price)
	})
}
