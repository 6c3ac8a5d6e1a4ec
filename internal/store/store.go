// Package store keeps everything that must survive in SQL, on SQLite or
// PostgreSQL, with the same code. It holds no rules but those that a database
// can hold better than anyone: what is unique, what can't fall below zero.
//
// What isn't there is a NotFound fault. Errors of the database itself carry no
// fault and are wrapped with what was attempted.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
)

// Store is an open database.
type Store struct {
	engine engine
	writer *bun.DB
	reader *bun.DB
	queue  atomic.Int64 // how many wait to write

	lines   atomic.Int64 // written since the log was written back last
	backing sync.Mutex   // held while it is
	ending  sync.WaitGroup

	compiled compiled // statements of SQLite's one writer
}

// Open opens the database at url, creating and migrating it as needed:
// "postgres://…", or the path of a SQLite file.
func Open(ctx context.Context, url string) (*Store, error) {
	e := engineFor(url)
	writer, err := e.open(url, true)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := e.migrate(ctx, writer.DB); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate database: %w", err), writer.Close())
	}
	reader, err := e.open(url, false)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database for reading: %w", err), writer.Close())
	}
	s := &Store{engine: e, writer: writer, reader: reader}
	if err := s.Write(ctx, func(tx *Tx) error { return tx.seal(ctx) }); err != nil {
		return nil, errors.Join(fmt.Errorf("seal the ledger: %w", err), s.Close())
	}
	return s, nil
}

// Close closes the database.
func (s *Store) Close() error {
	s.ending.Wait()
	return errors.Join(s.reader.Close(), s.writer.Close())
}

// backLines is after how many lines the log is written back.
const backLines = 4_000

// writeBack has the engine write its log back into the database beside those who
// write and read, after enough was written. What fails is done by the next one.
func (s *Store) writeBack(ctx context.Context, lines int) {
	if s.engine.writeBack == "" || s.lines.Add(int64(lines)) < backLines || !s.backing.TryLock() {
		return
	}
	s.lines.Store(0)
	s.ending.Go(func() {
		defer s.backing.Unlock()
		_, _ = s.reader.ExecContext(ctx, s.engine.writeBack)
	})
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return s.reader.NewRaw("SELECT 1").Scan(ctx, &one)
}

// Tx is one transaction.
type Tx struct {
	store    *Store
	db       bun.IDB
	writing  writing         // nil if it only reads
	base     int64           // revision of the marketplace that it began at; 0 if it only reads
	limits   int64           // revision of all limits that it began at; 0 if it only reads
	revision int64           // of the marketplace that it makes, 0 while it changes nothing there
	changed  map[string]bool // servers that sell otherwise, by id; written at the end
	pending  script
	lines    int // that were written
	sheet    ledger.Sheet
}

// Write runs fn in one transaction that is committed when fn returns nil, and
// rolled back all the same in a rehearsal. There
// is one at a time on both engines, over all replicas: what fn reads stays so
// until it is done, and no two of them can be in each other's way.
func (s *Store) Write(ctx context.Context, fn func(tx *Tx) error) error {
	return s.WriteKnowing(ctx, nil, fn)
}

// WriteKnowing is Write for what has to know how accounts stand, which is read in
// one piece with the beginning: Sheet has them.
func (s *Store) WriteKnowing(ctx context.Context, accounts []ledger.Account, fn func(tx *Tx) error) error {
	names := convert(accounts, func(a ledger.Account) string { return string(a) })
	if err := checkText(convert(names, func(name string) any { return name })); err != nil {
		return err
	}
	s.queue.Add(1)
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		s.queue.Add(-1)
		return fmt.Errorf("reach the database: %w", err)
	}
	defer conn.Close() //nolint:errcheck // it goes back to the others
	t := &Tx{store: s, db: conn, writing: s.engine.writing(s, conn.Conn)}
	done := false
	defer func() {
		if !done { // an error, or a panic
			t.writing.rollback(context.WithoutCancel(ctx))
		}
	}()
	begun, err := t.writing.begin(ctx, names)
	s.queue.Add(-1)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	t.base, t.limits = begun.revision, begun.limits
	for _, a := range accounts {
		t.sheet.Know(a, begun.standings[a])
	}
	if err := fn(t); err != nil {
		return err
	}
	t.noteRevision()
	t.noteSheet(t.sheet.Take())
	if Rehearsing(ctx) {
		return t.flush(ctx) // and rolled back
	}
	t.lines += t.pending.size()
	if err := t.writing.commit(ctx, &t.pending); err != nil {
		return err
	}
	done = true
	s.writeBack(context.WithoutCancel(ctx), t.lines)
	return nil
}

// Awaited reports whether others of this process wait to write until the
// transaction has ended.
func (t *Tx) Awaited() bool { return t.store.queue.Load() > 0 }

// Read runs fn against one unchanging view of the database.
func (s *Store) Read(ctx context.Context, fn func(tx *Tx) error) error {
	return s.reader.RunInTx(ctx, s.engine.snapshot(), func(_ context.Context, tx bun.Tx) error {
		return fn(&Tx{store: s, db: tx})
	})
}

// checkText returns an Invalid fault for text that no database keeps as it is.
// The arguments are written into the query, where a NUL would end it.
func checkText(args []any) error {
	for _, a := range args {
		if text, ok := a.(string); ok && (!utf8.ValidString(text) || strings.Contains(text, "\x00")) {
			return fault.New(fault.Invalid, "a text is not valid UTF-8, or holds a NUL character")
		}
	}
	return nil
}

// exec runs a statement and returns how many rows it changed.
func (t *Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := checkText(args); err != nil {
		return 0, err
	}
	if err := t.flush(ctx); err != nil {
		return 0, err
	}
	res, err := t.db.NewRaw(query, args...).Exec(ctx)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", opening(query), err)
	}
	return res.RowsAffected()
}

// rows runs a query for a list; the result is never nil.
func rows[T any](ctx context.Context, t *Tx, query string, args ...any) ([]T, error) {
	list := []T{}
	if err := checkText(args); err != nil {
		return nil, err
	}
	if err := t.flush(ctx); err != nil {
		return nil, err
	}
	if err := t.db.NewRaw(query, args...).Scan(ctx, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", opening(query), err)
	}
	return list, nil
}

// row runs a query for one row. Returns a NotFound fault with the sentence
// missing when there is none.
func row[T any](ctx context.Context, t *Tx, missing, query string, args ...any) (T, error) {
	var one T
	if err := checkText(args); err != nil {
		return one, err
	}
	if err := t.flush(ctx); err != nil {
		return one, err
	}
	err := t.db.NewRaw(query, args...).Scan(ctx, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return one, fault.New(fault.NotFound, missing)
	}
	if err != nil {
		return one, fmt.Errorf("%s: %w", opening(query), err)
	}
	return one, nil
}

// opening returns the first words of a query, enough to find it again.
func opening(query string) string {
	words := strings.Fields(query)
	return strings.Join(words[:min(len(words), 6)], " ")
}

// micros turns a time into what is stored; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// at turns what is stored into a time in UTC.
func at(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
