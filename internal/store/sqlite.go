package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"github.com/uptrace/bun/schema"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

var sqlite = engine{
	driver:    "sqlite",
	goose:     goose.DialectSQLite3,
	dialect:   func() schema.Dialect { return sqlitedialect.New() },
	only:      "SQLITE",
	identity:  "INTEGER PRIMARY KEY AUTOINCREMENT",
	dsn:       sqliteDSN,
	readers:   8,
	writing:   func(s *Store, c *sql.Conn) writing { return &sqliteWriting{c, &s.compiled} },
	writeBack: `PRAGMA wal_checkpoint(PASSIVE)`,
	writers:   1, // SQLite has one writer; waiting for it in a queue is fairer than being refused
}

// sqliteDSN asks for a write-ahead log that is synced at every commit, since a
// commit may be a payment, and written back into the file by a commit only when it has
// 64,000 pages of 4 KiB: writeBack is there before; and for writers that take their lock at once rather than when it is too
// late to wait.
func sqliteDSN(path string, write bool) string {
	q := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(15000)", "foreign_keys(1)", "wal_autocheckpoint(64000)"}}
	if write {
		q.Set("_txlock", "immediate")
		q.Add("_pragma", "cache_size(-64000)") // KiB; the pages that every placement writes stay in it, and those of a transaction that bills
	} else {
		q.Add("_pragma", "query_only(1)")
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

// sqliteWriting runs statements as they were compiled when they were first seen.
type sqliteWriting struct {
	conn *sql.Conn
	*compiled
}

// compiled keeps the compiled statements of SQLite's one writing connection,
// whose transactions take turns.
type compiled struct {
	of   any // the driver's connection
	kept map[string]driver.Stmt
}

// failing has a statement that fails leave what it did, as its transaction ends
// with it: SQLite would keep a journal for each statement otherwise.
var failing = strings.NewReplacer("INSERT INTO ", "INSERT OR FAIL INTO ", "UPDATE servers ", "UPDATE OR FAIL servers ", "UPDATE vms ", "UPDATE OR FAIL vms ")

// get returns a statement as it was compiled for a connection of the driver, and
// its arguments as the driver takes them.
func (c *compiled) get(ctx context.Context, of any, text string, line []any) (ready driver.Stmt, args []driver.NamedValue, err error) {
	if err := checkText(line); err != nil {
		return nil, nil, err
	}
	args = make([]driver.NamedValue, len(line))
	for i, value := range line {
		args[i].Ordinal = i + 1
		if args[i].Value, err = driver.DefaultParameterConverter.ConvertValue(value); err != nil {
			return nil, nil, err
		}
	}
	if c.of != of {
		c.of, c.kept = of, map[string]driver.Stmt{}
	}
	if ready = c.kept[text]; ready == nil {
		if ready, err = of.(driver.ConnPrepareContext).PrepareContext(ctx, failing.Replace(text)); err != nil {
			return nil, nil, fmt.Errorf("compile %s: %w", opening(text), err)
		}
		c.kept[text] = ready
	}
	return ready, args, nil
}

func (w *sqliteWriting) begin(ctx context.Context, accounts []string) (b beginning, err error) {
	err = w.conn.Raw(func(of any) error {
		if _, err := w.exec(ctx, of, `BEGIN IMMEDIATE`, nil); err != nil { // waits as long as ctx and busy_timeout allow
			return err
		}
		if b.standings, err = w.standingsOf(ctx, of, accounts); err != nil {
			return err
		}
		found := false
		err := w.query(ctx, of, `SELECT revision, limits FROM market WHERE id = 1`, nil, func(row []driver.Value) {
			found, b.revision, b.limits = true, number(row[0]), number(row[1])
		})
		if err != nil || !found {
			return cmp.Or(err, errNoMarket)
		}
		return nil
	})
	return b, err
}

func (w *sqliteWriting) standings(ctx context.Context, accounts []string) (standings map[ledger.Account]ledger.Standing, err error) {
	err = w.conn.Raw(func(of any) (err error) {
		standings, err = w.standingsOf(ctx, of, accounts)
		return err
	})
	return standings, err
}

func (w *sqliteWriting) standingsOf(ctx context.Context, of any, accounts []string) (map[ledger.Account]ledger.Standing, error) {
	standings := make(map[ledger.Account]ledger.Standing, len(accounts))
	lines := convert(accounts, func(account string) []any { return []any{account} })
	err := inSizes(lines, func(some [][]any) error {
		wanted := `SELECT b.account, b.amount, b.head FROM ` + tableOf(len(some), 1) + ` CROSS JOIN balances b ON b.account = t.column1`
		return w.query(ctx, of, wanted, slices.Concat(some...), func(row []driver.Value) {
			standings[ledger.Account(text(row[0]))] = ledger.Standing{Amount: money.Amount(number(row[1])), Head: ledger.Hash(text(row[2]))}
		})
	})
	return standings, err
}

func (w *sqliteWriting) run(ctx context.Context, s *script) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// The driver watches a context that can end from a goroutine for each
	// statement; these are over sooner than it has started.
	ctx = context.WithoutCancel(ctx)
	return w.conn.Raw(func(of any) error {
		for _, one := range s.statements {
			if err := w.each(ctx, of, one, s.short); err != nil {
				return err
			}
		}
		return nil
	})
}

// each runs a statement for all of its lines, as many at a time as make one of
// the sizes in which statements are compiled: the powers of two.
func (w *sqliteWriting) each(ctx context.Context, of any, one statement, short string) error {
	if one.lines == nil {
		_, err := w.exec(ctx, of, one.text(""), nil)
		return err
	}
	return inSizes(one.lines, func(lines [][]any) error {
		text := one.of(lines)
		n, err := w.exec(ctx, of, text, slices.Concat(lines...))
		if err != nil {
			return fmt.Errorf("%s: %w", opening(text), err)
		}
		if one.claim && n < int64(len(lines)) {
			return fault.New(fault.Conflict, short)
		}
		return nil
	})
}

// inSizes calls do for lines, as many at a time as statements are compiled for.
func inSizes(lines [][]any, do func(some [][]any) error) error {
	for size := mostLines; len(lines) > 0; lines = lines[size:] {
		for size > len(lines) {
			size /= 2
		}
		if err := do(lines[:size]); err != nil {
			return err
		}
	}
	return nil
}

// mostLines is how many lines one statement carries at most.
const mostLines = 64

// of returns the statement's text for so many lines.
func (s *statement) of(lines [][]any) string {
	if s.into != "" { // spares a table between
		return s.into + valuesOf(len(lines), len(lines[0]))
	}
	return s.text(tableOf(len(lines), len(lines[0])))
}

// tableOf returns a table of so many lines of so many values.
func tableOf(lines, values int) string { return `(` + valuesOf(lines, values) + `) AS t` }

func valuesOf(lines, values int) string {
	line := "(" + strings.Repeat("?, ", values-1) + "?)"
	return ` VALUES ` + line + strings.Repeat(", "+line, lines-1)
}

func (w *sqliteWriting) commit(ctx context.Context, s *script) error {
	s.add(`COMMIT`)
	return w.run(ctx, s)
}

func (w *sqliteWriting) rollback(ctx context.Context) {
	err := w.conn.Raw(func(of any) error {
		_, err := w.exec(ctx, of, `ROLLBACK`, nil)
		return err
	})
	if err != nil {
		w.drop()
		giveUp(w.conn)
	}
}

// drop closes the statements of a connection that is given up.
func (c *compiled) drop() {
	for _, ready := range c.kept {
		_ = ready.Close() // its connection is closed next
	}
	c.of, c.kept = nil, nil
}

// exec returns how many rows a statement has changed.
func (c *compiled) exec(ctx context.Context, of any, text string, line []any) (int64, error) {
	ready, args, err := c.get(ctx, of, text, line)
	if err != nil {
		return 0, err
	}
	res, err := ready.(driver.StmtExecContext).ExecContext(ctx, args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// query calls take for each row of a query. The row is the next one's, too.
func (c *compiled) query(ctx context.Context, of any, text string, line []any, take func(row []driver.Value)) error {
	ready, args, err := c.get(ctx, of, text, line)
	if err != nil {
		return err
	}
	list, err := ready.(driver.StmtQueryContext).QueryContext(context.WithoutCancel(ctx), args)
	if err != nil {
		return err
	}
	row := make([]driver.Value, len(list.Columns()))
	for err = list.Next(row); err == nil; err = list.Next(row) {
		take(row)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, list.Close())
}
