package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
)

// floor is the least that charging an epoch takes in plain SQL: two lines by
// double entry for each VM, computed by the database from a table of ids and
// prices, balances by whole numbers, and how far it came, all durable and to be
// gone on with after a crash. There are no keys, no seals, no reserves, no
// history to be found by account, no rows of VMs that change, and nobody asks
// whether the money is there.
type floor struct {
	db    *sql.DB
	vms   int
	batch int // VMs in a transaction
	epoch int
}

// floorBatch is how many VMs a transaction of the floor has.
var floorBatch = map[string]int{"sqlite": 1_000, "postgres": 10_000}

var floorSchema = map[string]string{
	"sqlite": `CREATE TABLE machines (id INTEGER PRIMARY KEY, customer INT, provider INT, price INT);
		CREATE TABLE sums (id INTEGER PRIMARY KEY, amount INT);
		CREATE TABLE lines (id INTEGER PRIMARY KEY, epoch INT, machine INT, account INT, amount INT);
		CREATE TABLE done (epoch INTEGER PRIMARY KEY, upto INT);`,
	"postgres": `CREATE TABLE machines (id INT PRIMARY KEY, customer INT NOT NULL, provider INT NOT NULL, price BIGINT NOT NULL);
		CREATE TABLE sums (id INT PRIMARY KEY, amount BIGINT NOT NULL) WITH (fillfactor = 50);
		CREATE TABLE lines (id BIGSERIAL PRIMARY KEY, epoch INT NOT NULL, machine INT NOT NULL, account INT NOT NULL, amount BIGINT NOT NULL);
		CREATE TABLE done (epoch INT PRIMARY KEY, upto INT NOT NULL);`,
}

func (b *bench) newFloor(ctx context.Context, engine string) (_ *floor, err error) {
	driver, name := "sqlite", "file:"+filepath.Join(b.dir, engine, "floor.db")+
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=cache_size(-262144)"
	if engine == "postgres" {
		db, err := b.postgres(ctx)
		if err != nil {
			return nil, err
		}
		driver, name = "pgx", db.URL("floor")
	}
	f := &floor{vms: b.vms, batch: floorBatch[engine]}
	if f.db, err = sql.Open(driver, name); err != nil {
		return nil, err
	}
	f.db.SetMaxOpenConns(1)
	if err := f.fill(ctx, engine); err != nil {
		return nil, errors.Join(fmt.Errorf("floor: %w", err), f.close())
	}
	return f, nil
}

// fill makes as many machines as there are VMs, with the customers and providers
// that they have.
func (f *floor) fill(ctx context.Context, engine string) error {
	customers := max(f.vms/vmsPerCustomer, 1)
	providers := min(max(f.vms/1_000, 1), mostProviders)
	for _, step := range []string{
		floorSchema[engine],
		fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO machines SELECT i, i %% %d, %d + i %% %d, %d + i %% %d FROM n`, f.vms-1, customers, customers, providers, leastPrice, prices),
		fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO sums SELECT i, %d FROM n`, customers+providers-1, wealth),
		`ANALYZE`,
	} {
		if _, err := f.db.ExecContext(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// bill charges an epoch of all.
func (f *floor) bill(ctx context.Context) error {
	f.epoch++
	if _, err := f.db.ExecContext(ctx, fmt.Sprintf(`INSERT INTO done VALUES (%d, 0)`, f.epoch)); err != nil {
		return err
	}
	for from := 0; from < f.vms; from += f.batch {
		if err := f.some(ctx, from, from+f.batch); err != nil {
			return fmt.Errorf("floor: %w", err)
		}
	}
	return nil
}

func (f *floor) some(ctx context.Context, from, to int) error {
	tx, err := f.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	moves := fmt.Sprintf(`SELECT id, customer AS account, -price AS amount FROM machines WHERE id >= %d AND id < %d
		UNION ALL SELECT id, provider, price FROM machines WHERE id >= %d AND id < %d`, from, to, from, to)
	for _, step := range []string{
		fmt.Sprintf(`INSERT INTO lines (epoch, machine, account, amount) SELECT %d, id, account, amount FROM (%s) moves`, f.epoch, moves),
		fmt.Sprintf(`UPDATE sums SET amount = sums.amount + moved.amount
			FROM (SELECT account, SUM(amount) AS amount FROM (%s) moves GROUP BY account) moved WHERE sums.id = moved.account`, moves),
		fmt.Sprintf(`UPDATE done SET upto = %d WHERE epoch = %d`, to, f.epoch),
	} {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

func (f *floor) close() error { return f.db.Close() }
