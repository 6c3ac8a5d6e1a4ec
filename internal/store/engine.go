package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"testing/fstest"

	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"github.com/cpucloud/cpucloud/internal/ledger"
)

// engine is all that differs between the two databases.
type engine struct {
	driver   string
	goose    goose.Dialect
	dialect  func() schema.Dialect
	only     string // opens a line of a migration that is for this engine alone
	identity string // a growing integer key, in the words of the engine
	writing  func(s *Store, c *sql.Conn) writing
	dsn      func(url string, write bool) string
	readers  int
	// writeBack is a statement that writes a log back into the database beside
	// others, "" for an engine that does so by itself.
	writeBack string
	writers   int
}

func engineFor(url string) engine {
	if strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://") {
		return postgres
	}
	return sqlite
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
		words = strings.ReplaceAll(words, "-- "+e.only+": ", "") // what the other engine has no words for
		out[strings.TrimPrefix(name, "migrations/")] = &fstest.MapFile{Data: []byte(words)}
	}
	return out, nil
}

// writing is a transaction that writes, on a connection of its own. It begins
// when those before it have ended.
type writing interface {
	// begin returns what it begins at.
	begin(ctx context.Context, accounts []string) (beginning, error)
	// standings returns how accounts stand, without those that never held anything.
	standings(ctx context.Context, accounts []string) (map[ledger.Account]ledger.Standing, error)
	// run runs a script.
	run(ctx context.Context, s *script) error
	// commit runs a script and makes all durable.
	commit(ctx context.Context, s *script) error
	// rollback undoes all. A connection that can't is given up.
	rollback(ctx context.Context)
}

// beginning is what a transaction that writes begins at.
type beginning struct {
	revision  int64                              // of the marketplace
	limits    int64                              // revision of all limits
	standings map[ledger.Account]ledger.Standing // of accounts; one that never held anything is left out
}

// giveUp closes a connection whose state is not known.
func giveUp(c *sql.Conn) { _ = c.Raw(func(any) error { return driver.ErrBadConn }) }
