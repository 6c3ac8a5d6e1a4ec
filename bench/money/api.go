package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/database"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
)

const (
	listers   = 4
	deployers = 2
	listEvery = 20 * time.Millisecond // between an answer and the next request
	makeEvery = 50 * time.Millisecond
	owned     = 10 // VMs that are listed
	idle      = 15 * time.Second

	beginsWithin = time.Minute
	billedWithin = time.Hour

	sshKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx1bmdmaXNobHVuZ2Zpc2hsdW5nZmlzaGx1bmdmaXNo bench"
)

// api measures how long customers wait for answers while a control plane bills
// an epoch of all VMs, beside how long they wait when it has.
func (b *bench) api(ctx context.Context, t *tenants) error {
	if !b.wants("api") {
		return nil
	}
	operator, err := t.start(ctx, "real")
	if err != nil {
		return err
	}
	v, err := newVisit(ctx, operator)
	if err != nil {
		return err
	}
	db, err := database.Open(t.engine, t.database)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // it was only read
	billing, err := v.whileBilled(ctx, db)
	if err != nil {
		return err
	}
	t.due, t.charged = t.due.Add(epoch), t.charged+1
	quiet, err := v.during(ctx, func(ctx context.Context) error { return report.Pause(ctx, idle) })
	if err != nil {
		return err
	}
	if err := errors.Join(t.stop(ctx, syscall.SIGTERM), t.audit(ctx)); err != nil {
		return err
	}
	name := "api." + t.engine
	figures := []report.Figure{{Name: name + ".billed", Value: billing.took.Seconds(), Unit: "s"}}
	for _, one := range []struct {
		what         string
		while, quiet []float64
	}{{"list", billing.lists, quiet.lists}, {"deploy", billing.deploys, quiet.deploys}} {
		if len(one.while) == 0 || len(one.quiet) == 0 {
			return fmt.Errorf("%s: nothing was answered in time; more VMs take longer: -vms", one.what)
		}
		figures = append(figures,
			report.Figure{Name: name + "." + one.what + ".p50", Value: report.Quantile(one.while, 0.5), Unit: "ms", Floor: report.Quantile(one.quiet, 0.5)},
			report.Figure{Name: name + "." + one.what + ".p99", Value: report.Quantile(one.while, 0.99), Unit: "ms", Floor: report.Quantile(one.quiet, 0.99), Bar: "<=3"},
		)
	}
	report.Progress("api: %s: %d lists and %d deploys while billed, %d and %d when idle", t.engine,
		len(billing.lists), len(billing.deploys), len(quiet.lists), len(quiet.deploys))
	return report.Print(figures...)
}

// visit is customers of a control plane.
type visit struct {
	*client.Client
	wish client.Deployment
}

// answers is how long customers waited, in milliseconds.
type answers struct {
	took           time.Duration
	lists, deploys []float64
}

func newVisit(ctx context.Context, operator *client.Client) (*visit, error) {
	account, err := operator.CreateAccount(ctx, "bench", "")
	if err != nil {
		return nil, err
	}
	if _, err := operator.SetBalance(ctx, account.ID, "1000000", "bench"); err != nil {
		return nil, err
	}
	v := &visit{Client: client.New(operator.URL(), account.APIKey)}
	v.wish = client.Deployment{
		Constraints: client.Constraints{BasicConfiguration: "cpu-2-ram-4gb-storage-25gb"}, Instances: owned,
		VM: client.VMConfiguration{Name: "bench", OSImage: "https://images.example/none.qcow2", SSHKeys: []string{sshKey}},
	}
	if _, err := v.Deploy(ctx, v.wish); err != nil {
		return nil, err
	}
	v.wish.Instances = 1
	return v, nil
}

// whileBilled has customers ask from when VMs are billed until all are.
func (v *visit) whileBilled(ctx context.Context, db *sql.DB) (answers, error) {
	first, err := newestEntry(ctx, db)
	if err != nil {
		return answers{}, err
	}
	if err := await(ctx, "that billing begins", beginsWithin, func() (bool, error) {
		last, err := newestEntry(ctx, db)
		return last > first, err
	}); err != nil {
		return answers{}, err
	}
	return v.during(ctx, func(ctx context.Context) error {
		return await(ctx, "that all are billed", billedWithin, func() (bool, error) {
			next := int64(0)
			err := db.QueryRowContext(ctx, `SELECT MIN(next_billing) FROM vms WHERE next_billing > 0`).Scan(&next)
			return next > report.Now().UnixMicro(), err
		})
	})
}

// during has customers ask while something goes on.
func (v *visit) during(ctx context.Context, wait func(ctx context.Context) error) (a answers, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	var mu sync.Mutex
	var failed error
	var all sync.WaitGroup
	ask := func(pause time.Duration, to *[]float64, one func() error) {
		all.Go(func() {
			for {
				begin := report.Now()
				err := one()
				took := report.Now().Sub(begin)
				mu.Lock()
				select {
				case <-over: // it may have had its answer behind the end
					mu.Unlock()
					return
				default:
				}
				*to = append(*to, float64(took.Microseconds())/1000)
				failed = errors.Join(failed, err)
				mu.Unlock()
				if err != nil || report.Pause(ctx, pause) != nil {
					return
				}
			}
		})
	}
	begin := report.Now()
	for range listers {
		ask(listEvery, &a.lists, func() error {
			list, err := v.VMs(ctx, client.ListOptions{PerPage: owned})
			if err == nil && len(list) != owned {
				err = fmt.Errorf("%d VMs are listed, not %d", len(list), owned)
			}
			return err
		})
	}
	for range deployers {
		ask(makeEvery, &a.deploys, func() error {
			_, err := v.Deploy(ctx, v.wish)
			return err
		})
	}
	err = wait(ctx)
	a.took = report.Now().Sub(begin)
	mu.Lock()
	close(over)
	mu.Unlock()
	all.Wait()
	return a, errors.Join(err, failed)
}
