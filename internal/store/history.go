package store

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Mark is the place of an entry in the order of time. The zero value is none.
type Mark struct {
	At time.Time
	ID int64
}

// HistoryEntry is an entry that touches a customer's money.
type HistoryEntry struct {
	ledger.Entry
	ID     int64
	VMName string // as the VM is called now, "" for none
}

// Mark returns the place of the entry.
func (e HistoryEntry) Mark() Mark { return Mark{e.At, e.ID} }

// History says which entries of an account are meant: of those that touch its
// balance or the reserves of its VMs. The zero value of a member narrows nothing.
type History struct {
	AccountID string
	VM        string      // only those that touch the reserve of this VM of the account
	Labels    vm.Selector // only those about VMs that it chooses, as they are labelled now
	Kinds     []ledger.Kind
	From, To  time.Time // at From or later, and before To
	Before    Mark      // older than this one
	After     Mark      // newer than this one
	UpTo      int64     // with this id or a lower one
}

// where returns the condition of the entries that are meant: those of an account
// are a range of an index, and those of a VM are found by their keys.
func (h History) where() (condition string, args []any) {
	condition, args = `e.customer <> '' AND e.customer = ?`, []any{h.AccountID}
	add := func(on bool, more string, values ...any) {
		if on {
			condition, args = condition+" AND "+more, append(args, values...)
		}
	}
	if h.VM != "" { // COALESCE keeps the index of its account out of it
		keys, values := keysOf(h.VM)
		condition, args = `(`+keys+`) AND e.vm_id = ? AND COALESCE(e.customer, '') = ?`, slices.Concat(values, []any{h.VM, h.AccountID})
	}
	add(len(h.Kinds) > 0, `e.kind IN (?)`, bun.List(h.Kinds))
	add(!h.From.IsZero(), `e.at >= ?`, micros(h.From))
	add(!h.To.IsZero(), `e.at < ?`, micros(h.To))
	add(h.Before != Mark{}, `(e.at, e.id) < (?, ?)`, micros(h.Before.At), h.Before.ID)
	add(h.After != Mark{}, `(e.at, e.id) > (?, ?)`, micros(h.After.At), h.After.ID)
	add(h.UpTo > 0, `e.id <= ?`, h.UpTo)
	if chosen, of := labelled(h.Labels); len(chosen) > 0 {
		add(true, `EXISTS (SELECT 1 FROM vms v WHERE v.id = e.vm_id AND `+strings.Join(chosen, " AND ")+`)`, of...)
	}
	return condition, args
}

// page returns the query of a page of entries.
func (h History) page(order string, limit int) (query string, args []any) {
	where, args := h.where()
	by := func(table string) string {
		return ` ORDER BY ` + table + `.at ` + order + `, ` + table + `.id ` + order
	}
	return `SELECT p.*, COALESCE(v.name, '') AS name FROM (
		SELECT e.id, e.key, e.at, e.kind, e.from_account, e.to_account, e.amount, e.vm_id, e.epoch, e.reason FROM entries e
		WHERE ` + where + by("e") + ` LIMIT ` + strconv.Itoa(limit) + `) p LEFT JOIN vms v ON v.id = p.vm_id` + by("p"), args
}

// History returns up to limit entries, the newest first. It costs as much as what
// it returns, unless Kinds leave many out.
func (t *Tx) History(ctx context.Context, h History, limit int) ([]HistoryEntry, error) {
	query, args := h.page("DESC", limit)
	return t.history(ctx, query, args)
}

// HistoryUp is History with the oldest first.
func (t *Tx) HistoryUp(ctx context.Context, h History, limit int) ([]HistoryEntry, error) {
	query, args := h.page("ASC", limit)
	return t.history(ctx, query, args)
}

func (t *Tx) history(ctx context.Context, query string, args []any) ([]HistoryEntry, error) {
	type historyRow struct {
		ID int64
		entryRow
		Name string
	}
	list, err := rows[historyRow](ctx, t, query, args...)
	return convert(list, func(r historyRow) HistoryEntry { return HistoryEntry{r.entry(), r.ID, r.Name} }), err
}

// Moved returns what entries changed in all of the money of their customer.
func (t *Tx) Moved(ctx context.Context, h History) (ledger.Purse, error) {
	where, args := h.where()
	own := string(ledger.Customer(h.AccountID))
	r, err := row[struct{ Free, Reserved int64 }](ctx, t, "", `SELECT
		CAST(COALESCE(SUM(CASE WHEN to_account = ? THEN amount WHEN from_account = ? THEN -amount ELSE 0 END), 0) AS BIGINT) AS free,
		CAST(COALESCE(SUM(CASE WHEN to_account LIKE 'vm:%' THEN amount WHEN from_account LIKE 'vm:%' THEN -amount ELSE 0 END), 0) AS BIGINT) AS reserved
		FROM entries e WHERE `+where, append([]any{own, own}, args...)...)
	return ledger.Purse{Free: money.Amount(r.Free), Reserved: money.Amount(r.Reserved)}, err
}

// LastEntry returns the id of the newest entry of all, 0 when there is none.
func (t *Tx) LastEntry(ctx context.Context) (int64, error) {
	r, err := row[struct{ ID int64 }](ctx, t, "", `SELECT COALESCE(MAX(id), 0) AS id FROM entries`)
	return r.ID, err
}
