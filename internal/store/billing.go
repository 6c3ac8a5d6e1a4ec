package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Due is a VM to be billed, with what billing needs of it alone, and how its
// reserve and its customer's balance stand.
type Due struct {
	vm.VM
	Place    DuePlace
	Reserve  ledger.Standing
	Customer ledger.Standing
	was      condition
}

// DuePlace is a VM's place among others that are due: since when it is, and its id.
type DuePlace struct {
	Since time.Time
	ID    string
}

// condition is what billing changes of a VM only where it moves to another state.
type condition struct {
	goal            vm.Goal
	generation      int64
	state           vm.State
	since, deadline time.Time
	reason          string
}

func conditionOf(v *vm.VM) condition {
	return condition{v.Goal, v.Generation, v.State, v.Since, v.Deadline, v.Reason}
}

// due is a query for what Due holds, without Place.
const due = `SELECT v.id, v.account_id, v.server_id, v.provider_id, v.goal, v.generation, v.state, v.since, v.reason, v.deadline,
	v.price, v.spent, v.epoch, v.next_billing, v.epochs, v.settled, COALESCE(r.amount, 0), COALESCE(r.head, ''), COALESCE(a.amount, 0), COALESCE(a.head, ''),
	v.key_id, CASE WHEN v.limited THEN 1 ELSE 0 END, CASE WHEN v.cheaper THEN 1 ELSE 0 END, v.power
	FROM vms v LEFT JOIN balances r ON r.account = 'vm:' || v.id LEFT JOIN balances a ON a.account = 'account:' || v.account_id `

func (t *Tx) eachDue(ctx context.Context, where string, take func(Due) error, args ...any) error {
	var r [24]any
	return t.scan(ctx, due+where, func(rows *sql.Rows) error {
		if err := scanAll(rows, r[:]); err != nil {
			return err
		}
		d := Due{
			VM: vm.VM{
				ID: text(r[0]), AccountID: text(r[1]), ServerID: text(r[2]), ProviderID: text(r[3]), Goal: vm.Goal(text(r[4])), Generation: number(r[5]),
				State: vm.State(text(r[6])), Since: at(number(r[7])), Reason: text(r[8]), Deadline: at(number(r[9])),
				Price: money.Amount(number(r[10])), Spent: money.Amount(number(r[11])), Epoch: time.Duration(number(r[12])) * time.Microsecond,
				NextBilling: at(number(r[13])), Epochs: number(r[14]), Settled: number(r[15]), Reserved: money.Amount(number(r[16])),
				KeyID: text(r[20]), Limited: number(r[21]) != 0, Cheaper: number(r[22]) != 0, Power: vm.Power(text(r[23])),
			},
			Reserve:  ledger.Standing{Amount: money.Amount(number(r[16])), Head: ledger.Hash(text(r[17]))},
			Customer: ledger.Standing{Amount: money.Amount(number(r[18])), Head: ledger.Hash(text(r[19]))},
		}
		d.was = conditionOf(&d.VM)
		return take(d)
	}, args...)
}

// EachDue calls take for up to limit VMs behind a place whose next epoch is due at
// a time, the one that is due longest first. Of those that are short of money it
// takes the ones whose grace is over: what they wait for is that, or money.
func (t *Tx) EachDue(ctx context.Context, behind DuePlace, now time.Time, grace time.Duration, limit int, take func(Due) error) error {
	return t.eachDue(ctx, `WHERE v.next_billing > 0 AND (v.next_billing, v.id) > (?, ?) AND v.next_billing <= ?
		AND (v.state <> 'SmallBalance' OR v.next_billing <= ?) ORDER BY v.next_billing, v.id LIMIT ?`, func(d Due) error {
		d.Place = DuePlace{d.NextBilling, d.ID}
		return take(d)
	}, micros(behind.Since), behind.ID, micros(now), micros(now.Add(-grace)), limit)
}

// EachPayable calls take for up to limit VMs behind a place that are short of
// money, or powered off for want of it, and that their customers' balances can pay
// for, the one that waits longest first.
func (t *Tx) EachPayable(ctx context.Context, behind DuePlace, limit int, take func(Due) error) error {
	return t.eachDue(ctx, `WHERE v.state IN ('SmallBalance', 'InsufficientFunds') AND (v.since, v.id) > (?, ?)
		AND COALESCE(a.amount, 0) + COALESCE(r.amount, 0) >= CASE v.state WHEN 'SmallBalance' THEN v.price ELSE 2 * v.price END
		ORDER BY v.since, v.id LIMIT ?`, func(d Due) error {
		d.Place = DuePlace{d.Since, d.ID}
		return take(d)
	}, micros(behind.Since), behind.ID, limit)
}

// Know has the transaction's sheet know how the accounts of VMs stand that were
// read when this transaction had begun, in it or beside it.
func (t *Tx) Know(list []Due) {
	for i := range list {
		t.sheet.Know(ledger.Reserve(list[i].ID), list[i].Reserve)
		t.sheet.Know(ledger.Customer(list[i].AccountID), list[i].Customer)
	}
}

// StoreBilled writes what billing changed of VMs, and what was posted. Balances of
// providers, whose VMs are among the next ones as well, are written at the end.
func (t *Tx) StoreBilled(ctx context.Context, list []Due) error {
	var paid, moved [][]any
	for i := range list {
		v := &list[i].VM
		line := []any{v.ID, int64(v.Spent), micros(v.NextBilling), v.Epochs, v.Settled}
		if now := conditionOf(v); now == list[i].was {
			paid = append(paid, line)
		} else {
			moved = append(moved, append(line, string(v.Goal), v.Generation, string(v.State), micros(v.Since), v.Reason, micros(v.Deadline)))
		}
	}
	const count = `spent = t.column2, next_billing = t.column3, epochs = t.column4, settled = t.column5`
	s := &script{}
	s.claim(paid, "a VM is gone", func(table string) string {
		return `UPDATE vms SET ` + count + ` FROM ` + table + ` WHERE vms.id = t.column1`
	})
	s.claim(moved, "a VM is gone", func(table string) string {
		return `UPDATE vms SET ` + count + `, goal = t.column6, generation = t.column7, state = t.column8, since = t.column9, reason = t.column10,
			deadline = t.column11 FROM ` + table + ` WHERE vms.id = t.column1`
	})
	t.later(s)
	t.noteSheet(t.sheet.TakeBut(ledger.Account.OfProvider))
	return t.runPending(ctx)
}

// PutPrice writes what a VM costs from its next epoch on, and nothing else of it.
func (t *Tx) PutPrice(ctx context.Context, v vm.VM) error {
	parts, err := partsText(v.Parts)
	if err != nil {
		return err
	}
	full, _, err := termsText(v)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE vms SET price = ?, price_parts = ?, full_parts = ?, cheaper = ? WHERE id = ?`, int64(v.Price), parts, full, v.Cheaper, v.ID)
	return err
}
