package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/database"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
)

const (
	killedEpochs = 2                     // that are billed while the control plane is killed
	longestLife  = 10 * time.Millisecond // behind the moment that it is killed for
)

// kill kills the control plane again and again while it bills all VMs, and looks
// whether each was charged exactly once for each epoch.
func (b *bench) kill(ctx context.Context, t *tenants) error {
	if !b.wants("kill") {
		return nil
	}
	begin := report.Now()
	killed, err := t.billKilled(ctx, b.kills)
	if err != nil {
		return fmt.Errorf("kill: %s: %w", t.engine, err)
	}
	report.Progress("kill: %s: killed %d times while %d VMs were charged %d epochs: each of them once, and all is sound", t.engine, killed, t.vms, killedEpochs)
	return report.Print(
		report.Figure{Name: "kill." + t.engine, Value: float64(killed), Unit: "kills", Bar: fmt.Sprintf(">=%d", b.kills)},
		report.Figure{Name: "kill." + t.engine + ".time", Value: report.Now().Sub(begin).Seconds(), Unit: "s"},
	)
}

// billKilled bills epochs of all VMs by control planes that are killed at moments
// spread over the whole work, so many times. It returns how often one was killed
// before all was done.
func (t *tenants) billKilled(ctx context.Context, kills int) (killed int, err error) {
	for n := range kills {
		inTime, err := t.live(ctx, float64(n+1)/float64(kills+1))
		if err != nil {
			return killed, err
		}
		if inTime {
			killed++
		}
	}
	operator, err := t.start(ctx, "test")
	if err != nil {
		return killed, err
	}
	if err := t.advance(ctx, operator); err != nil {
		return killed, err
	}
	t.charged += killedEpochs
	t.due = t.due.Add(killedEpochs * epoch)
	found, err := operator.Fsck(ctx)
	if err == nil && !found.Sound {
		err = fmt.Errorf("%d discrepancies, the first one %v", len(found.Discrepancies), found.Discrepancies[0])
	}
	return killed, errors.Join(err, t.stop(ctx, syscall.SIGTERM), t.audit(ctx))
}

// advance moves the clock on by the epochs that are to be billed.
func (t *tenants) advance(ctx context.Context, operator *client.Client) error {
	_, err := operator.AdvanceClock(ctx, t.due.Add(spread+(killedEpochs-1)*epoch).Sub(report.Now())+time.Second)
	return err
}

// live is one life of a control plane: it is killed when a share of all entries
// is there that the epochs make. It returns whether they were not all there yet.
func (t *tenants) live(ctx context.Context, share float64) (killed bool, err error) {
	operator, err := t.start(ctx, "test")
	if err != nil {
		return false, err
	}
	db, err := database.Open(t.engine, t.database)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	before := int64(0)
	if err := db.QueryRowContext(ctx, `SELECT MAX(id) FROM entries WHERE kind = 'charge' AND epoch = $1`, t.charged).Scan(&before); err != nil {
		return false, err
	}
	advanced := make(chan error, 1)
	go func() { advanced <- t.advance(ctx, operator) }()
	if err := await(ctx, "for the moment to kill it", billedWithin, func() (bool, error) {
		last, err := newestEntry(ctx, db)
		return float64(last-before) >= share*float64(2*killedEpochs*t.vms), err
	}); err != nil {
		return false, err
	}
	if err := report.Pause(ctx, rand.N(longestLife)); err != nil {
		return false, err
	}
	if err := t.stop(ctx, syscall.SIGKILL); err != nil {
		return false, err
	}
	return <-advanced != nil, nil
}
