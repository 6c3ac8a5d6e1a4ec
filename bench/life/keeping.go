package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/cpucloud/cpucloud/bench/internal/database"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/usage"
)

// keeping is a control plane of this process, with servers that are full of VMs, at a
// clock that leaps from minute to minute.
type keeping struct {
	*control.Service
	store   *store.Store
	now     time.Time
	servers []metered
	// vacuum is what PostgreSQL does by itself within minutes, of which there are none
	// at a clock that leaps; nil for SQLite.
	vacuum func(context.Context) error
}

// metered is one server with what its VMs do.
type metered struct {
	id  string
	vms []*load
}

func openKeeping(ctx context.Context, url string, servers int) (*keeping, error) {
	k := &keeping{now: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)}
	var err error
	if k.store, err = store.Open(ctx, url); err != nil {
		return nil, err
	}
	k.Service, err = control.New(ctx, control.Config{
		Store: k.store, Now: func() time.Time { return k.now }, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
		Epoch: 24 * time.Hour, Retention: time.Hour, Launch: time.Hour, Simulation: true, Gather: 2 * time.Millisecond,
	})
	if err != nil {
		return nil, errors.Join(err, k.close())
	}
	return k, k.fill(ctx, servers)
}

func (k *keeping) close() error { return k.store.Close() }

// fill makes servers and VMs.
func (k *keeping) fill(ctx context.Context, servers int) error {
	var lines strings.Builder
	for n := range servers {
		fmt.Fprintf(&lines, "%d,1,1,US,AMD,Zen,DDR5,NVMe,%d,%d,%d,%d,0,0,0,0,1000\n", n+1, 2*perServer, 4*perServer, 25*perServer, perServer)
	}
	if _, err := k.Simulate(ctx, control.System, lines.String(), false); err != nil {
		return err
	}
	_, secret, err := k.CreateAccount(ctx, control.System, "Anna", account.Customer)
	if err != nil {
		return err
	}
	who, err := k.Authenticate(ctx, secret)
	if err != nil {
		return err
	}
	if _, err := k.SetBalance(ctx, control.System, who.AccountID, 1000*money.USDC, "to begin with"); err != nil {
		return err
	}
	for range servers {
		_, err := k.Deploy(ctx, who, control.Deployment{
			Constraints: market.Constraints{Configuration: market.Configurations()[0].Slug()}, Instances: perServer, Name: "vm",
			Image: "https://example.com/a.qcow2", SSHKeys: []string{sshKey},
		})
		if err != nil {
			return err
		}
	}
	return k.store.Read(ctx, func(tx *store.Tx) error {
		var numbers []int64
		for n := range servers {
			numbers = append(numbers, int64(n+1))
		}
		list, err := tx.ServersByNumber(ctx, numbers)
		for _, s := range list {
			_, ids, err := tx.Metered(ctx, s.ID)
			if err != nil {
				return err
			}
			m := metered{id: s.ID}
			for n, vmID := range ids {
				m.vms = append(m.vms, newLoad(vmID, n))
			}
			k.servers = append(k.servers, m)
		}
		return err
	})
}

const sshKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx1bmdmaXNobHVuZ2Zpc2hsdW5nZmlzaGx1bmdmaXNo anna@laptop"

// pass lets time pass, with agents that tell each time a period is over: those of two
// gatherings, and what is due is put together. It returns how long that took.
func (k *keeping) pass(ctx context.Context, d, period time.Duration) (time.Duration, error) {
	begun := report.Now()
	for end := k.now.Add(d); k.now.Before(end); {
		from := usage.SlotOf(k.now)
		k.now = k.now.Add(period)
		for half := range 2 {
			if err := k.tell(ctx, k.servers[half*len(k.servers)/2:(half+1)*len(k.servers)/2], from, period); err != nil {
				return 0, err
			}
		}
		if _, err := k.TidyMetrics(ctx); err != nil {
			return 0, err
		}
		if k.vacuum != nil && k.now.Equal(k.now.Truncate(time.Hour)) {
			if err := k.vacuum(ctx); err != nil {
				return 0, err
			}
		}
	}
	return report.Now().Sub(begun), nil
}

// tell has servers tell of a period at once.
func (k *keeping) tell(ctx context.Context, servers []metered, from usage.Slot, period time.Duration) error {
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, m := range servers {
		all.Go(func() {
			r := usage.Report{At: k.now}
			for _, l := range m.vms {
				r.VMs = append(r.VMs, usage.OfVM{ID: l.id, Points: l.slots(from, usage.Slots(period))})
			}
			errs[i] = k.Meter(ctx, m.id, r)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// footprint are the bytes of a database.
type footprint struct {
	stored  int64 // in use: of files, less what they keep free
	written int64 // to files since they were made: the log, and the database itself
}

// measure returns the bytes of a database. Those of SQLite's that were written are what
// this process wrote; PostgreSQL's are its log, whose segments are written once, and what
// is stored, which is written once more.
func (k *keeping) measure(ctx context.Context, engine, url string) (b footprint, err error) {
	db, err := database.Open(engine, url)
	if err != nil {
		return b, err
	}
	defer db.Close() //nolint:errcheck // it was only read
	if engine == "postgres" {
		return b, errors.Join(
			one(ctx, db, "SELECT pg_database_size(current_database())", &b.stored),
			one(ctx, db, "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint + pg_database_size(current_database())", &b.written),
		)
	}
	var size, pages, free int64
	err = errors.Join(one(ctx, db, "PRAGMA page_size", &size), one(ctx, db, "PRAGMA page_count", &pages), one(ctx, db, "PRAGMA freelist_count", &free))
	b.stored = size * (pages - free)
	if err != nil {
		return b, err
	}
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return b, err
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "wchar: %d", &b.written); err == nil {
			return b, nil
		}
	}
	return b, errors.New("the kernel doesn't count what is written")
}

// vacuumOf returns what makes room in the tables of metrics.
func vacuumOf(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		db, err := database.Open("postgres", url)
		if err != nil {
			return err
		}
		_, err = db.ExecContext(ctx, "VACUUM usage_recent, usage_kept")
		return errors.Join(err, db.Close())
	}
}

func one(ctx context.Context, db *sql.DB, query string, into *int64) error {
	return db.QueryRowContext(ctx, query).Scan(into)
}
