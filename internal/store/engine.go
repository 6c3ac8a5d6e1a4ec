package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"testing/fstest"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"github.com/uptrace/bun/schema"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// engine is all that differs between the two databases.
type engine struct {
	driver   string
	goose    goose.Dialect
	dialect  func() schema.Dialect
	identity string // a growing integer key, in the words of the engine
	lock     string // behind a query of the marketplace's revision: makes a writing transaction wait for those before it
	dsn      func(url string, write bool) string
	readers  int
	writers  int
}

var sqlite = engine{
	driver:   "sqlite",
	goose:    goose.DialectSQLite3,
	dialect:  func() schema.Dialect { return sqlitedialect.New() },
	identity: "INTEGER PRIMARY KEY AUTOINCREMENT",
	dsn:      sqliteDSN,
	readers:  8,
	writers:  1, // SQLite has one writer; waiting for it in a queue is fairer than being refused
}

var postgres = engine{
	driver:   "pgx",
	goose:    goose.DialectPostgres,
	dialect:  func() schema.Dialect { return pgdialect.New() },
	identity: "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
	lock:     " FOR UPDATE", // readers go on; the row stands for all, on every replica
	dsn:      func(url string, _ bool) string { return url },
	readers:  8,
	writers:  16,
}

func engineFor(url string) engine {
	if strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://") {
		return postgres
	}
	return sqlite
}

// sqliteDSN asks for a write-ahead log that is synced at every commit, since a
// commit may be a payment, and written back into the file every 8,000 pages of
// 4 KiB; and for writers that take their lock at once rather than when it is too
// late to wait.
func sqliteDSN(path string, write bool) string {
	q := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(15000)", "foreign_keys(1)", "wal_autocheckpoint(8000)"}}
	if write {
		q.Set("_txlock", "immediate")
	} else {
		q.Add("_pragma", "query_only(1)")
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

func (e engine) open(url string, write bool) (*bun.DB, error) {
	db, err := sql.Open(e.driver, e.dsn(url, write))
	if err != nil {
		return nil, err
	}
	most := e.readers
	if write {
		most = e.writers
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	return bun.NewDB(db, e.dialect()), nil
}

// snapshot returns the options of a reading transaction: one view from its
// first statement to its last. Every SQLite transaction has that.
func (e engine) snapshot() *sql.TxOptions {
	if e.driver == sqlite.driver {
		return nil
	}
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}

//go:embed migrations/*.sql
var migrations embed.FS

func (e engine) migrate(ctx context.Context, db *sql.DB) error {
	steps, err := e.migrations()
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(e.goose, db, steps)
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// migrations returns the migrations in the words of the engine.
func (e engine) migrations() (fs.FS, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	out := fstest.MapFS{}
	for _, name := range files {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		words := strings.ReplaceAll(string(text), "IDENTITY,", e.identity+",")
		if e.driver == postgres.driver {
			words = strings.ReplaceAll(words, "-- POSTGRES: ", "") // what the other engine has no words for
		}
		out[strings.TrimPrefix(name, "migrations/")] = &fstest.MapFile{Data: []byte(words)}
	}
	return out, nil
}
