package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// rules is the least that charging an epoch takes under the rules of the ledger:
// two entries for each VM, each with a key that is unique, in the order of its
// customer and with room for a seal; balances that can't fall below zero and know
// their last entry; and the VM's row with what it was charged and when it is due
// again. The database computes it all by itself, of whole numbers: nobody reads a
// VM, decides about it, seals an entry, or hands one over.
type rules struct {
	db     *sql.DB
	vms    int
	epoch  int
	random string // an expression of 32 bytes
}

// rulesBatch is how many VMs a transaction has, as the cloud's own have.
const rulesBatch = 4_000

// rulesSchema is the same on both engines but for the names of types.
const rulesSchema = `CREATE TABLE tenants (id %[1]s PRIMARY KEY, customer INT NOT NULL, provider INT NOT NULL, price BIGINT NOT NULL, due BIGINT NOT NULL, epochs INT NOT NULL, head %[3]s NOT NULL);
	CREATE INDEX tenants_due ON tenants (due, id);
	CREATE TABLE holdings (id %[1]s PRIMARY KEY, amount BIGINT NOT NULL CHECK (amount >= 0), head %[3]s NOT NULL);
	CREATE TABLE moves (id %[2]s, machine INT NOT NULL, kind INT NOT NULL, epoch INT NOT NULL, customer INT NOT NULL, at BIGINT NOT NULL,
		origin INT NOT NULL, target INT NOT NULL, amount BIGINT NOT NULL, seal %[3]s NOT NULL, UNIQUE (machine, kind, epoch));
	CREATE INDEX moves_customer ON moves (customer, at, id);`

// newRules makes the tables and what the floor has in its own, in its database.
func newRules(ctx context.Context, f *floor, engine string) (*rules, error) {
	r := &rules{db: f.db, vms: f.vms, epoch: 1, random: `randomblob(32)`}
	schema := fmt.Sprintf(rulesSchema, "INTEGER", "INTEGER PRIMARY KEY", "BLOB")
	if engine == "postgres" {
		r.random = `uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())`
		schema = fmt.Sprintf(rulesSchema, "INT", "BIGSERIAL PRIMARY KEY", "BYTEA")
	}
	for _, step := range []string{
		schema,
		`INSERT INTO tenants SELECT id, customer, provider, price, id, 1, ` + r.random + ` FROM machines`,
		`INSERT INTO holdings SELECT id, amount, ` + r.random + ` FROM sums`,
		`ANALYZE`,
	} {
		if _, err := r.db.ExecContext(ctx, step); err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
	}
	return r, nil
}

// bill charges an epoch of all.
func (r *rules) bill(ctx context.Context) error {
	r.epoch++
	for from := 0; from < r.vms; from += rulesBatch {
		if err := r.some(ctx, fmt.Sprintf(`id >= %d AND id < %d`, from, from+rulesBatch)); err != nil {
			return fmt.Errorf("rules: %w", err)
		}
	}
	return nil
}

func (r *rules) some(ctx context.Context, where string) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	const charge, fill = 1, 2
	for _, step := range []string{
		fmt.Sprintf(`INSERT INTO moves (machine, kind, epoch, customer, at, origin, target, amount, seal)
			SELECT id, %d, %d, customer, due, id, provider, price, %s FROM tenants WHERE %s`, charge, r.epoch, r.random, where),
		fmt.Sprintf(`INSERT INTO moves (machine, kind, epoch, customer, at, origin, target, amount, seal)
			SELECT id, %d, %d, customer, due, customer, id, price, %s FROM tenants WHERE %s`, fill, r.epoch, r.random, where),
		fmt.Sprintf(`UPDATE holdings SET amount = holdings.amount - moved.amount, head = %s
			FROM (SELECT customer, SUM(price) AS amount FROM tenants WHERE %s GROUP BY customer) moved WHERE holdings.id = moved.customer`, r.random, where),
		fmt.Sprintf(`UPDATE holdings SET amount = holdings.amount + moved.amount, head = %s
			FROM (SELECT provider, SUM(price) AS amount FROM tenants WHERE %s GROUP BY provider) moved WHERE holdings.id = moved.provider`, r.random, where),
		fmt.Sprintf(`UPDATE tenants SET epochs = epochs + 1, due = due + 86400000000, head = %s WHERE %s`, r.random, where),
	} {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}
