package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/schema"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
)

var postgres = engine{
	driver:   "pgx",
	goose:    goose.DialectPostgres,
	dialect:  func() schema.Dialect { return pgdialect.New() },
	only:     "POSTGRES",
	identity: "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
	writing:  func(_ *Store, c *sql.Conn) writing { return &postgresWriting{c} },
	dsn:      postgresDSN,
	readers:  8,
	writers:  16,
}

// divisionByZero is the code of the error by which a claim ends a transaction.
const divisionByZero = "22012"

// postgresWriting sends statements in as few pieces as it can, prepared when they
// were first seen, with each column of their lines as an array: a round trip
// takes as long as a small statement, and reading one twice as long as doing it.
type postgresWriting struct {
	conn *sql.Conn
}

// chunk is how many lines one statement carries at most.
const chunk = 1000

// begin locks the marketplace's revision, which stands for all, on every
// replica. Readers go on.
func (w *postgresWriting) begin(ctx context.Context, accounts []string) (beginning, error) {
	begun := beginning{standings: map[ledger.Account]ledger.Standing{}}
	var b pgx.Batch
	b.Queue(`BEGIN`)
	b.Queue(`SELECT revision, limits FROM market WHERE id = 1 FOR UPDATE`).QueryRow(func(row pgx.Row) error {
		return row.Scan(&begun.revision, &begun.limits)
	})
	if len(accounts) > 0 {
		queueStandings(&b, accounts, begun.standings)
	}
	return begun, w.send(ctx, &b)
}

func (w *postgresWriting) standings(ctx context.Context, accounts []string) (map[ledger.Account]ledger.Standing, error) {
	standings := map[ledger.Account]ledger.Standing{}
	var b pgx.Batch
	queueStandings(&b, accounts, standings)
	return standings, w.send(ctx, &b)
}

// queueStandings has the standings of accounts read.
func queueStandings(b *pgx.Batch, accounts []string, standings map[ledger.Account]ledger.Standing) {
	b.Queue(`SELECT account, amount, head FROM balances WHERE account = ANY ($1) ORDER BY account`, accounts).Query(func(rows pgx.Rows) error {
		var account ledger.Account
		var standing ledger.Standing
		_, err := pgx.ForEachRow(rows, []any{&account, &standing.Amount, &standing.Head}, func() error {
			standings[account] = standing
			return nil
		})
		return err
	})
}

func (w *postgresWriting) run(ctx context.Context, s *script) error {
	var b pgx.Batch
	for _, one := range s.statements {
		if one.lines == nil {
			b.Queue(one.text(""))
		}
		for lines := range slices.Chunk(one.lines, chunk) {
			table, columns, err := columnsOf(lines)
			if err != nil {
				return err
			}
			text := one.text(table)
			if one.claim { // what comes behind it in the piece must not be done, whatever is read of its outcome
				text = `WITH claimed AS (` + text + ` RETURNING 1)
					SELECT 1 / CASE COUNT(*) WHEN cardinality($1) THEN 1 ELSE 0 END FROM claimed`
			}
			b.Queue(text, columns...)
		}
	}
	err := w.send(ctx, &b)
	if broken, ok := errors.AsType[*pgconn.PgError](err); ok && broken.Code == divisionByZero && s.short != "" {
		return fault.New(fault.Conflict, s.short)
	}
	return err
}

// columnsOf returns lines as a table out of one array for each column.
func columnsOf(lines [][]any) (table string, columns []any, err error) {
	kinds, names := make([]string, len(lines[0])), make([]string, len(lines[0]))
	columns = make([]any, len(lines[0]))
	for i := range columns {
		switch lines[0][i].(type) {
		case string:
			columns[i], kinds[i] = column[string](lines, i), "text"
		case int64:
			columns[i], kinds[i] = column[int64](lines, i), "bigint"
		case bool:
			columns[i], kinds[i] = column[bool](lines, i), "boolean"
		default:
			return "", nil, fmt.Errorf("a script has a value of type %T", lines[0][i])
		}
		kinds[i], names[i] = fmt.Sprintf("$%d::%s[]", i+1, kinds[i]), fmt.Sprintf("column%d", i+1)
	}
	for _, line := range lines {
		if err := checkText(line); err != nil {
			return "", nil, err
		}
	}
	return `unnest(` + strings.Join(kinds, ", ") + `) AS t (` + strings.Join(names, ", ") + `)`, columns, nil
}

func column[T any](lines [][]any, i int) []T {
	values := make([]T, len(lines))
	for n, line := range lines {
		values[n], _ = line[i].(T) // all lines are alike
	}
	return values
}

func (w *postgresWriting) commit(ctx context.Context, s *script) error {
	s.add(`COMMIT`)
	return w.run(ctx, s)
}

func (w *postgresWriting) rollback(ctx context.Context) {
	var b pgx.Batch
	b.Queue(`ROLLBACK`)
	if err := w.send(ctx, &b); err != nil {
		giveUp(w.conn)
	}
}

// send sends statements in one piece.
func (w *postgresWriting) send(ctx context.Context, b *pgx.Batch) error {
	return w.conn.Raw(func(of any) error {
		conn := of.(*stdlib.Conn).Conn()
		for _, one := range b.QueuedQueries {
			if _, err := conn.Prepare(ctx, one.SQL, one.SQL); err != nil {
				return fmt.Errorf("prepare %s: %w", opening(one.SQL), err)
			}
		}
		if err := conn.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	})
}

// postgresDSN has queries sent as they are: their values are in their text, so
// that none comes twice, and to prepare one would only be two round trips more.
func postgresDSN(given string, _ bool) string {
	u, err := url.Parse(given)
	if err != nil {
		return given // which the driver says better
	}
	q := u.Query()
	q.Set("default_query_exec_mode", "exec")
	u.RawQuery = q.Encode()
	return u.String()
}
