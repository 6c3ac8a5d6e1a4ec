package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cpucloud/cpucloud/bench/internal/postgres"
	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// rowFloor is the floor of a placement: one statement on PostgreSQL that takes
// room of a server, known by its id, and adds a row for the VM. Nothing is
// searched for, checked or paid.
type rowFloor struct {
	db  *postgres.Server
	mix []wish
	ids []int32 // of servers with much room
}

const takeRow = `WITH taken AS (UPDATE servers SET vcpu = vcpu - $2, ram = ram - $3, storage = storage - $4, addresses = addresses - 1
	WHERE id = $1 AND vcpu >= $2 AND ram >= $3 AND storage >= $4 AND addresses >= 1 RETURNING id, unit)
	INSERT INTO vms (server, size, unit, request) SELECT id, $5, unit, $6 FROM taken`

func newRowFloor(ctx context.Context, db *postgres.Server, fleet []machine) (*rowFloor, error) {
	c, err := db.Connect(ctx, "floor")
	if err != nil {
		return nil, err
	}
	defer c.Close(ctx) //nolint:errcheck // all was answered
	for _, step := range []string{
		`CREATE TABLE servers (id INT PRIMARY KEY, provider INT, datacenter INT, country SMALLINT, maker SMALLINT, arch SMALLINT, memory SMALLINT, disk SMALLINT,
			vcpu INT, ram INT, storage INT, addresses INT, unit BIGINT) WITH (fillfactor = 70)`,
		`CREATE TABLE vms (id BIGSERIAL PRIMARY KEY, server INT NOT NULL, size INT NOT NULL, unit BIGINT NOT NULL, request UUID UNIQUE, created TIMESTAMPTZ DEFAULT now())`,
	} {
		if _, err := c.Exec(ctx, step); err != nil {
			return nil, err
		}
	}
	columns := []string{"id", "provider", "datacenter", "country", "maker", "arch", "memory", "disk", "vcpu", "ram", "storage", "addresses", "unit"}
	f := &rowFloor{db: db, mix: makeMix(500)}
	if _, err := c.CopyFrom(ctx, pgx.Identifier{"servers"}, columns, pgx.CopyFromSlice(len(fleet), func(i int) ([]any, error) {
		m := &fleet[i]
		free := m.free()
		if free[0] >= 48 && free[1] >= 96 && free[2] >= 100 && free[3] >= 4 {
			f.ids = append(f.ids, int32(i)) //nolint:gosec // counts servers
		}
		return []any{
			int32(i), int32(m.provider), int32(m.datacenter), int16(m.country), int16(m.maker), int16(m.arch), int16(m.memory), int16(m.disk), //nolint:gosec // as above
			free[0], free[1], free[2], free[3], m.unit,
		}, nil
	})); err != nil {
		return nil, err
	}
	for _, step := range []string{
		`CREATE INDEX ON servers (unit, id)`, `CREATE INDEX ON servers (country, unit)`, `CREATE INDEX ON servers (maker, disk, unit)`,
		`CREATE INDEX ON servers (arch, unit)`, `VACUUM ANALYZE servers`,
	} {
		if _, err := c.Exec(ctx, step); err != nil {
			return nil, err
		}
	}
	if len(f.ids) == 0 {
		return nil, errors.New("no server of the fleet has room for the floor")
	}
	return f, nil
}

// round returns how many VMs are placed per second over so many connections.
func (f *rowFloor) round(ctx context.Context, connections int, phase time.Duration) (float64, error) {
	var mu sync.Mutex
	var failed error
	var all atomic.Int64
	var clients sync.WaitGroup
	begin := report.Now()
	for k := range connections {
		clients.Go(func() {
			n, err := f.client(ctx, k, connections, begin.Add(phase))
			all.Add(n)
			if err != nil {
				mu.Lock()
				failed = err
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	if failed != nil {
		return 0, fmt.Errorf("floor of placements: %w", failed)
	}
	return float64(all.Load()) / report.Now().Sub(begin).Seconds(), nil
}

func (f *rowFloor) client(ctx context.Context, k, step int, end time.Time) (n int64, err error) {
	c, err := f.db.Connect(ctx, "floor")
	if err != nil {
		return 0, err
	}
	defer c.Close(ctx) //nolint:errcheck // all was answered
	for i := k; report.Now().Before(end); i += step {
		w := &f.mix[i%len(f.mix)]
		need := w.need()
		request := fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", rand.Uint32(), rand.N(1<<16), rand.N(1<<12), rand.N(1<<12), rand.N(1<<48))
		tag, err := c.Exec(ctx, takeRow, f.ids[rand.N(len(f.ids))], need[0], need[1], need[2], w.size, request)
		if err != nil {
			return n, err
		}
		n += tag.RowsAffected()
	}
	return n, nil
}
