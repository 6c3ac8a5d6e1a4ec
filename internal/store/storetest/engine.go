// Package storetest holds the promises of the store as one suite of tests that
// both databases have to pass, and gives a test a database of its own.
package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/store"
)

// Postgres names the environment variable with the postgres:// URL of a server
// on which tests may make databases. Without it they run on SQLite alone.
const Postgres = "CPUCLOUD_TEST_POSTGRES"

// Engine is a kind of database that tests run on.
type Engine struct {
	Name  string
	fresh func(tb testing.TB) (url string)
}

// SQLite makes its databases in the test's temporary folder.
func SQLite() Engine {
	return Engine{Name: "sqlite", fresh: func(tb testing.TB) string {
		tb.Helper()
		return filepath.Join(tb.TempDir(), "cloud.db")
	}}
}

// Engines returns SQLite, and PostgreSQL when there is one to be used.
func Engines() []Engine {
	engines := []Engine{SQLite()}
	if server := os.Getenv(Postgres); server != "" {
		engines = append(engines, postgres(server))
	}
	return engines
}

// Each runs fn as a subtest for every engine.
func Each(t *testing.T, fn func(t *testing.T, e Engine)) {
	t.Helper()
	for _, e := range Engines() {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			fn(t, e)
		})
	}
}

// URL returns the URL of a database without rows that ends with the test.
func (e Engine) URL(tb testing.TB) string {
	tb.Helper()
	return e.fresh(tb)
}

// Open returns a store without rows that is closed when the test ends.
func (e Engine) Open(tb testing.TB) *store.Store {
	tb.Helper()
	return open(tb, e.URL(tb))
}

func open(tb testing.TB, url string) *store.Store {
	tb.Helper()
	s, err := store.Open(tb.Context(), url)
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	tb.Cleanup(func() { _ = s.Close() }) // a test that looks at Close calls it itself
	return s
}

// postgres gives each test a schema, which holds tables as a database of its
// own would and is made ten times faster.
func postgres(server string) Engine {
	return Engine{Name: "postgres", fresh: func(tb testing.TB) string {
		tb.Helper()
		u, err := url.Parse(server)
		if err != nil {
			tb.Fatalf("%s is no URL: %v", Postgres, err)
		}
		schema := "test_" + strings.ToLower(rand.Text())
		admin(tb.Context(), tb, server, "CREATE SCHEMA "+schema)
		tb.Cleanup(func() { admin(context.WithoutCancel(tb.Context()), tb, server, "DROP SCHEMA "+schema+" CASCADE") })
		q := u.Query()
		q.Set("search_path", schema)
		u.RawQuery = q.Encode()
		return u.String()
	}}
}

func admin(ctx context.Context, tb testing.TB, server, command string) {
	tb.Helper()
	db, err := sql.Open("pgx", server)
	if err != nil {
		tb.Fatalf("%s: %v", Postgres, err)
	}
	defer func() { _ = db.Close() }() // nothing is left to be written
	if _, err := db.ExecContext(ctx, command); err != nil {
		tb.Errorf("%s: %v", command, err)
	}
}

// Dump returns all rows of all tables of the database at url as text, by table.
func Dump(tb testing.TB, url string) map[string][]string {
	tb.Helper()
	driver, catalogue := "sqlite", `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name`
	if strings.HasPrefix(url, "postgres") {
		driver, catalogue = "pgx", `SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename`
	}
	db, err := sql.Open(driver, url)
	if err != nil {
		tb.Fatalf("open %s: %v", driver, err)
	}
	defer func() { _ = db.Close() }() // nothing is left to be written
	all := map[string][]string{}
	for _, table := range lines(tb, db, catalogue) {
		table = strings.Trim(table, "[]")
		all[table] = lines(tb, db, `SELECT * FROM `+table)
		slices.Sort(all[table])
	}
	return all
}

// lines returns the rows of a query as text.
func lines(tb testing.TB, db *sql.DB, query string) (out []string) {
	tb.Helper()
	list, err := db.QueryContext(tb.Context(), query)
	if err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = list.Close() }() // its error is that of Err
	columns, err := list.Columns()
	if err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	values, to := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		to[i] = &values[i]
	}
	for list.Next() {
		if err := list.Scan(to...); err != nil {
			tb.Fatalf("%s: %v", query, err)
		}
		out = append(out, fmt.Sprint(values))
	}
	if err := list.Err(); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return out
}
