package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/controlplane"
	"github.com/cpucloud/cpucloud/bench/internal/database"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/store"
)

// epoch is how long one lasts, as it does unless an operator says otherwise.
const epoch = 24 * time.Hour

// tenants is a cloud whose customers have VMs that fall due one behind the other
// within a second. It is billed in this process, or by a control plane of its
// own, never by both at once.
type tenants struct {
	engine   string
	vms      int
	dir      string
	database string
	command  []string  // that starts a control plane
	due      time.Time // when the next epoch of the first VM begins
	charged  int64     // epochs of each VM
	plane    *controlplane.Process
}

// tenants makes a cloud whose VMs run, each with its first epoch charged.
func (b *bench) tenants(ctx context.Context, engine, name string, vms int) (*tenants, error) {
	t := &tenants{engine: engine, vms: vms, dir: filepath.Join(b.dir, engine, name), command: []string{b.binary, "server"}}
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return nil, err
	}
	t.database = filepath.Join(t.dir, "cloud.db")
	if engine == "postgres" {
		db, err := b.postgres(ctx)
		if err != nil {
			return nil, err
		}
		t.database = db.URL(name)
	}
	t.due = report.Now().Add(time.Hour)
	if name == "large" { // one epoch is due by now when all rounds are done
		t.due = report.Now().Add(-time.Hour)
		if b.wants("bill") {
			t.due = t.due.Add(-time.Duration(b.rounds) * epoch)
		}
	}
	report.Progress("%s: %d VMs move in", engine, vms)
	return t, t.moveIn(ctx)
}

func (t *tenants) moveIn(ctx context.Context) (err error) {
	db, err := store.Open(ctx, t.database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	t.charged = 1
	if err := newEstate(t.vms, t.due).build(ctx, db); err != nil {
		return err
	}
	return t.analyze(ctx)
}

// analyze has PostgreSQL look at what there is, as it does by itself within
// minutes.
func (t *tenants) analyze(ctx context.Context) (err error) {
	if t.engine != "postgres" {
		return nil
	}
	db, err := database.Open(t.engine, t.database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, `VACUUM ANALYZE`)
	return err
}

// billHere bills the next epoch of all VMs in this process, which watch is called
// around.
func (t *tenants) billHere(ctx context.Context, watch func(run func() error) error) (err error) {
	db, err := store.Open(ctx, t.database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	now := t.due.Add(spread)
	s, err := control.New(ctx, control.Config{
		Store: db, Now: func() time.Time { return now }, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
		Epoch: epoch, Retention: 7 * epoch, KeepDisks: epoch, Launch: time.Hour,
	})
	if err != nil {
		return err
	}
	billed := 0
	if err := watch(func() (err error) {
		billed, err = s.Bill(ctx)
		return err
	}); err != nil {
		return err
	}
	t.due, t.charged = t.due.Add(epoch), t.charged+1
	if billed != t.vms {
		return fmt.Errorf("%d of %d VMs were billed", billed, t.vms)
	}
	return nil
}

// start starts a control plane on what is stored, with the real clock or one
// that can be moved, and returns a client that may do all.
func (t *tenants) start(ctx context.Context, clock string) (_ *client.Client, err error) {
	words := slices.Concat(t.command, []string{"--data", t.dir, "--listen", "127.0.0.1:0", "--database", t.database, "--clock", clock})
	if t.plane, err = controlplane.Start(ctx, t.dir, words...); err != nil {
		return nil, fmt.Errorf("start a control plane on %s: %w", t.engine, err)
	}
	key, err := controlplane.OperatorKey(t.dir)
	return client.New(t.plane.URL, key), err
}

// stop ends the control plane, if there is one, though ctx may be done.
func (t *tenants) stop(ctx context.Context, how syscall.Signal) error {
	if t.plane == nil {
		return nil
	}
	err := t.plane.End(ctx, how)
	t.plane = nil
	return err
}

func (t *tenants) close(ctx context.Context) error {
	return errors.Join(t.stop(ctx, syscall.SIGTERM), os.RemoveAll(t.dir))
}

// audit returns an error unless each VM was charged exactly once for each of its
// epochs, by what is stored.
func (t *tenants) audit(ctx context.Context) (err error) {
	db, err := database.Open(t.engine, t.database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var pairs, entries, vms, epochs int64
	if err := db.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(SUM(n), 0), COUNT(DISTINCT vm_id), MAX(epoch)
		FROM (SELECT vm_id, epoch, COUNT(*) AS n FROM entries WHERE kind = 'charge' GROUP BY vm_id, epoch) charged`).Scan(&pairs, &entries, &vms, &epochs); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if n := int64(t.vms); pairs != entries || pairs != n*t.charged || vms != n || epochs != t.charged {
		return fmt.Errorf("audit: %d charges of %d epochs of %d VMs, up to epoch %d; there are %d VMs with %d epochs", entries, pairs, vms, epochs, n, t.charged)
	}
	var wrong int64
	if err := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM vms WHERE activated_at > 0 AND (epochs <> $1 OR spent <> $1 * price OR settled <> epochs - 1)`, t.charged).Scan(&wrong); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if wrong > 0 {
		return fmt.Errorf("audit: %d VMs do not say that they were charged %d epochs", wrong, t.charged)
	}
	return nil
}
