package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
)

// compiled keeps statements compiled for as long as the database is open: those
// of scripts, which come in a few sizes each. A nil one keeps none.
type compiled struct {
	mu     sync.Mutex
	kept   map[string]*sql.Stmt
	wanted []string
}

// get returns a statement that was compiled. One that was not will be, once the
// transaction that asks for it has ended: it holds the only connection.
func (c *compiled) get(text string) *sql.Stmt {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stmt := c.kept[text]
	if stmt == nil {
		c.wanted = append(c.wanted, text)
	}
	return stmt
}

// compile compiles what was wanted.
func (c *compiled) compile(ctx context.Context, db *sql.DB) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	wanted := c.wanted
	c.wanted = nil
	c.mu.Unlock()
	for _, text := range wanted {
		stmt, err := db.PrepareContext(ctx, text) //nolint:sqlclosecheck // kept until the database is closed
		if err != nil {
			return fmt.Errorf("compile %s: %w", opening(text), err)
		}
		c.mu.Lock()
		if c.kept[text] == nil {
			c.kept[text], stmt = stmt, nil
		}
		c.mu.Unlock()
		if stmt != nil { // another was faster
			_ = stmt.Close()
		}
	}
	return nil
}
