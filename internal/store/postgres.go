package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/schema"

	"github.com/cpucloud/cpucloud/internal/fault"
)

var postgres = engine{
	driver:   "pgx",
	goose:    goose.DialectPostgres,
	dialect:  func() schema.Dialect { return pgdialect.New() },
	identity: "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
	writing:  func(s *Store, c *sql.Conn) writing { return &postgresWriting{c, s.writer.QueryGen()} },
	dsn:      func(url string, _ bool) string { return url },
	readers:  8,
	writers:  16,
}

// divisionByZero is the code of the error by which a claim ends a transaction.
const divisionByZero = "22012"

// postgresWriting sends statements in as few pieces as it can: a round trip
// takes as long as a small statement.
type postgresWriting struct {
	conn *sql.Conn
	gen  schema.QueryGen // writes values into texts
}

// begin locks the marketplace's revision, which stands for all, on every
// replica. Readers go on.
func (w *postgresWriting) begin(ctx context.Context, accounts []string) (revision int64, held map[string]int64, err error) {
	text := `BEGIN; SELECT revision FROM market WHERE id = 1 FOR UPDATE`
	if len(accounts) > 0 {
		text += w.gen.FormatQuery(`; SELECT account, amount FROM balances WHERE account IN (?) ORDER BY account`, bun.List(accounts))
	}
	got, err := w.send(ctx, text)
	if err != nil {
		return 0, nil, err
	}
	if len(got) < 2 || len(got[1].Rows) != 1 {
		return 0, nil, errors.New("no marketplace")
	}
	held = map[string]int64{}
	for _, result := range got[2:] {
		for _, row := range result.Rows {
			if held[string(row[0])], err = strconv.ParseInt(string(row[1]), 10, 64); err != nil {
				return 0, nil, err
			}
		}
	}
	revision, err = strconv.ParseInt(string(got[1].Rows[0][0]), 10, 64)
	return revision, held, err
}

func (w *postgresWriting) run(ctx context.Context, s *script) error {
	var piece []byte
	if err := s.each(chunk, func(text string, args []any, claim int) error {
		text = w.gen.FormatQuery(text, args...)
		if claim > 0 { // what comes behind it in the piece must not be done, whatever is read of its outcome
			text = fmt.Sprintf(`WITH claimed AS (%s RETURNING 1) SELECT 1 / CASE COUNT(*) WHEN %d THEN 1 ELSE 0 END FROM claimed`, text, claim)
		}
		piece = append(append(piece, text...), ";\n"...)
		return checkText(args)
	}); err != nil || len(piece) == 0 {
		return err
	}
	_, err := w.send(ctx, string(piece))
	if broken, ok := errors.AsType[*pgconn.PgError](err); ok && broken.Code == divisionByZero && s.short != "" {
		return fault.New(fault.Conflict, s.short)
	}
	return err
}

func (w *postgresWriting) commit(ctx context.Context, s *script) error {
	s.add(`COMMIT`)
	return w.run(ctx, s)
}

func (w *postgresWriting) rollback(ctx context.Context) {
	if _, err := w.send(ctx, `ROLLBACK`); err != nil {
		giveUp(w.conn)
	}
}

// send sends statements in one piece.
func (w *postgresWriting) send(ctx context.Context, text string) (got []*pgconn.Result, err error) {
	err = w.conn.Raw(func(of any) (err error) {
		got, err = of.(*stdlib.Conn).Conn().PgConn().Exec(ctx, text).ReadAll()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opening(text), err)
	}
	return got, nil
}
