// Package database reads the databases of control planes past the code that
// writes them.
package database

import "database/sql"

// Engines are the databases that a control plane can have.
var Engines = []string{"sqlite", "postgres"}

// Open opens the database of a control plane, which may be running, to read it:
// the file of SQLite, or the URL of PostgreSQL.
func Open(engine, name string) (*sql.DB, error) {
	if engine == "sqlite" {
		return sql.Open("sqlite", "file:"+name+"?_pragma=query_only(1)&_pragma=busy_timeout(15000)")
	}
	return sql.Open("pgx", name)
}
