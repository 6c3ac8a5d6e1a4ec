package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// SpendRow is what one VM, or one day, cost.
type SpendRow struct {
	Key    string // id of the VM; a date
	VMName string // as it is called now
	ledger.Spend
}

// spent is the condition of the entries of a history that are charges and
// returns, of whatever VM.
func (h History) spent() (condition string, args []any) {
	h.VM, h.Kinds = "", []ledger.Kind{ledger.Charge, ledger.Return}
	return h.where()
}

const spendSums = `CAST(COALESCE(SUM(CASE kind WHEN 'charge' THEN amount ELSE 0 END), 0) AS BIGINT) AS charged,
	CAST(COALESCE(SUM(CASE kind WHEN 'return' THEN amount ELSE 0 END), 0) AS BIGINT) AS returned,
	CAST(COALESCE(SUM(CASE kind WHEN 'charge' THEN 1 ELSE 0 END), 0) AS BIGINT) AS epochs`

type spendRow struct {
	Key      string
	Name     string
	Day      int64
	Charged  int64
	Returned int64
	Epochs   int64
}

func (r spendRow) row() SpendRow {
	return SpendRow{r.Key, r.Name, ledger.Spend{Charged: money.Amount(r.Charged), Returned: money.Amount(r.Returned), Epochs: r.Epochs}}
}

// Spend returns what the VMs of a history's account cost in its time.
func (t *Tx) Spend(ctx context.Context, h History) (ledger.Spend, error) {
	where, args := h.spent()
	r, err := row[spendRow](ctx, t, "", `SELECT `+spendSums+` FROM entries e WHERE `+where, args...)
	return r.row().Spend, err
}

// SpendByVM returns what each VM cost, up to limit of those that cost most.
func (t *Tx) SpendByVM(ctx context.Context, h History, limit int) ([]SpendRow, error) {
	where, args := h.spent()
	list, err := rows[spendRow](ctx, t, `SELECT x.*, COALESCE(v.name, '') AS name FROM (
		SELECT vm_id AS key, `+spendSums+` FROM entries e WHERE `+where+` GROUP BY vm_id) x LEFT JOIN vms v ON v.id = x.key
		ORDER BY x.charged - x.returned DESC, x.key LIMIT ?`, append(args, limit)...)
	return convert(list, spendRow.row), err
}

// SpendByDay returns what each day in UTC cost on which there were charges or
// returns, in their order.
func (t *Tx) SpendByDay(ctx context.Context, h History) ([]SpendRow, error) {
	where, args := h.spent()
	list, err := rows[spendRow](ctx, t, `SELECT day, `+spendSums+` FROM (
		SELECT e.at / 86400000000 AS day, e.kind, e.amount FROM entries e WHERE `+where+`) x GROUP BY day ORDER BY day`, args...)
	return convert(list, func(r spendRow) SpendRow {
		one := r.row()
		one.Key = time.UnixMicro(r.Day * dayMicros).UTC().Format(time.DateOnly)
		return one
	}), err
}

// SpendByResource returns what was spent on which resource. Of VMs from before
// the parts of prices were kept, the parts are in the proportions of what their
// offer asks now.
func (t *Tx) SpendByResource(ctx context.Context, h History) (parted ledger.PartedSpend, err error) {
	where, args := h.spent()
	err = t.scan(ctx, `SELECT x.kind, x.amount, x.n, v.price_parts, CASE v.price_parts WHEN '' THEN v.spec ELSE '' END,
		COALESCE(o.price_vcpu, 0), COALESCE(o.price_ram, 0), COALESCE(o.price_storage, 0), COALESCE(o.price_address, 0)
		FROM (SELECT vm_id, kind, amount, COUNT(*) AS n FROM entries e WHERE `+where+` GROUP BY vm_id, kind, amount) x
		JOIN vms v ON v.id = x.vm_id LEFT JOIN offers o ON o.id = v.offer_id AND v.price_parts = '' ORDER BY x.vm_id, x.kind, x.amount`,
		func(list *sql.Rows) error {
			var kind ledger.Kind
			var amount, n int64
			var known, spec string
			var now market.Prices
			if err := list.Scan(&kind, &amount, &n, &known, &spec, &now.VCPU, &now.RAM, &now.Storage, &now.Address); err != nil {
				return err
			}
			parts, err := partsOf(known, spec, now)
			parted.Add(kind, money.Amount(amount), n, parts)
			return err
		}, args...)
	return parted, err
}

// partsOf returns the parts of a VM's price that are known, or what they would be
// at prices.
func partsOf(known, spec string, prices market.Prices) (parts vm.Parts, err error) {
	if known != "" {
		return parts, fromJSON(known, &parts)
	}
	var s vm.Spec
	if err := fromJSON(spec, &s); err != nil {
		return parts, err
	}
	return prices.Parts(s.Demand()), nil
}

// KindSum is the entries of one kind.
type KindSum struct {
	Kind   ledger.Kind
	Count  int64
	Amount money.Amount
}

// KindSums returns how many entries of each kind there are, and what they come
// to.
func (t *Tx) KindSums(ctx context.Context, h History) ([]KindSum, error) {
	where, args := h.where()
	list, err := rows[struct {
		Kind   string
		N      int64
		Amount int64
	}](ctx, t, `SELECT kind, COUNT(*) AS n, CAST(SUM(amount) AS BIGINT) AS amount FROM entries e WHERE `+where+` GROUP BY kind ORDER BY kind`, args...)
	out := make([]KindSum, len(list))
	for i, r := range list {
		out[i] = KindSum{ledger.Kind(r.Kind), r.N, money.Amount(r.Amount)}
	}
	return out, err
}
