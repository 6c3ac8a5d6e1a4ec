package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

// A ledger is read in parts of many entries, each of which the database hands over
// as one text: what a value of a row costs a driver is more than what an entry costs
// the database.
const (
	partSize  = 512
	fieldEnd  = "\x1f" // between the fields of an entry, as ASCII has it for that
	entryEnd  = "\x1e" // between entries
	allFields = `id, key, at, kind, from_account, to_account, amount, vm_id, epoch, reason, actor, hash`
	fields    = 12
)

// part is some entries that follow each other.
type part struct {
	text string
	rows []numbered // of a part whose text can't be told apart
}

// numbered is an entry with its id.
type numbered struct {
	id int64
	ledger.Sealed
}

// eachPart calls take for all entries in the order in which they were written,
// some at a time.
func (t *Tx) eachPart(ctx context.Context, take func(part)) error {
	for last := int64(0); ; {
		n, end, whole, err := t.part(ctx, last)
		if err != nil || n == 0 {
			return err
		}
		p := part{text: whole}
		// Just as many marks as n entries need: no text of theirs holds one.
		if strings.Count(whole, entryEnd) != n-1 || strings.Count(whole, fieldEnd) != n*(fields-1) {
			if p.rows, err = t.partByRows(ctx, last); err != nil {
				return err
			}
		}
		take(p)
		last = end
	}
}

// part returns how many entries there are behind one in a part, the id of the
// last, and their text.
func (t *Tx) part(ctx context.Context, after int64) (n int, last int64, whole string, err error) {
	var r [3]any
	err = t.scan(ctx, `SELECT COUNT(*), COALESCE(MAX(id), 0), COALESCE(STRING_AGG(CONCAT_WS('`+fieldEnd+`', `+allFields+`), '`+entryEnd+`'), '')
		FROM (SELECT `+allFields+` FROM entries WHERE id > ? ORDER BY id LIMIT `+strconv.Itoa(partSize)+`) e`, func(list *sql.Rows) error {
		err := scanAll(list, r[:])
		n, last, whole = int(number(r[0])), number(r[1]), text(r[2])
		return err
	}, after)
	return n, last, whole, err
}

// entries returns a part's entries. Their texts share memory: whoever keeps one of
// them clones it.
func (p part) entries() []numbered {
	if p.rows != nil {
		return p.rows
	}
	list := make([]numbered, 0, partSize)
	for line := range strings.SplitSeq(p.text, entryEnd) {
		var f [fields]string
		for i := range f {
			f[i], line, _ = strings.Cut(line, fieldEnd)
		}
		list = append(list, entryOf(&f))
	}
	byID := func(a, b numbered) int { return cmp.Compare(a.id, b.id) }
	if !slices.IsSortedFunc(list, byID) { // they come in their order, but no standard says so
		slices.SortFunc(list, byID)
	}
	return list
}

// entryOf returns the entry of fields. What should be a number and isn't one is 0
// here, which no seal fits.
func entryOf(f *[fields]string) numbered {
	whole := func(i int) int64 {
		n, _ := strconv.ParseInt(f[i], 10, 64)
		return n
	}
	return numbered{whole(0), ledger.Sealed{Hash: ledger.Hash(f[11]), Entry: ledger.Entry{
		Key: f[1], At: at(whole(2)), Kind: ledger.Kind(f[3]), From: ledger.Account(f[4]), To: ledger.Account(f[5]),
		Amount: money.Amount(whole(6)), VM: f[7], Epoch: whole(8), Reason: f[9], Actor: f[10],
	}}}
}

// partByRows reads the entries behind one as rows.
func (t *Tx) partByRows(ctx context.Context, after int64) (list []numbered, err error) {
	err = t.scan(ctx, `SELECT `+allFields+` FROM entries WHERE id > ? ORDER BY id LIMIT `+strconv.Itoa(partSize), func(rows *sql.Rows) error {
		var r [fields]any
		if err := scanAll(rows, r[:]); err != nil {
			return err
		}
		var f [fields]string
		for i := range f {
			switch v := r[i].(type) {
			case string:
				f[i] = v
			case int64:
				f[i] = strconv.FormatInt(v, 10)
			}
		}
		list = append(list, entryOf(&f))
		return nil
	}, after)
	return list, err
}
