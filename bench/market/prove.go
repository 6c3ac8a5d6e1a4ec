package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/internal/money"
)

const (
	soloMost   = 500 // VMs whose places are checked against the whole fleet
	idsAtOnce  = 500 // VMs that are asked for in one request
	killedLoad = 8   // clients that deploy while the control plane is killed
)

// prove has the control plane show that what it did is right: where one client
// deploys alone each VM is on a cheapest server, and a control plane that is
// killed forgets nothing that it acknowledged.
func (d *deployer) prove(ctx context.Context, inProcess bool) error {
	if err := d.solo(ctx); err != nil {
		return err
	}
	if inProcess {
		return nil
	}
	return d.killed(ctx)
}

func (d *deployer) solo(ctx context.Context) error {
	before, err := d.audit(ctx)
	if err != nil {
		return err
	}
	t := d.task(1)
	t.Most = soloMost
	o, err := runLoad(ctx, t)
	if err != nil {
		return err
	}
	d.done(o)
	after, err := d.audit(ctx)
	if err != nil {
		return err
	}
	vms := map[string]keptVM{}
	for _, v := range after.vms {
		vms[v.id] = v
	}
	left := newStock(d.fleet)
	for _, v := range before.vms {
		left.take(v.server, v.takes)
	}
	list := make([]placed, len(o.Made))
	for i, m := range o.Made {
		v := vms[m.ID]
		list[i] = placed{d.mix[m.Body], v.server, money.Amount(v.price), v.takes}
	}
	if err := checkCheapest(left, list); err != nil {
		return fmt.Errorf("one client alone: %w", err)
	}
	report.Progress("place: %s: %d VMs of one client are all on cheapest servers", d.engine, len(list))
	return report.Print(report.Figure{Name: "place." + d.engine + ".1", Value: float64(len(o.Made)) / o.Seconds, Unit: "VMs/s"})
}

// killed ends the control plane without warning while clients deploy, starts it
// again, and looks for all VMs that were ever acknowledged.
func (d *deployer) killed(ctx context.Context) error {
	t := d.task(killedLoad)
	t.Killed = true
	result, failed := make(chan outcome, 1), make(chan error, 1)
	go func() {
		o, err := runLoad(ctx, t)
		failed <- err
		result <- o
	}()
	if err := report.Pause(ctx, t.For/2); err != nil {
		return err
	}
	if err := d.kill(ctx); err != nil {
		return err
	}
	err, o := <-failed, <-result
	if err != nil {
		return err
	}
	if len(o.Made) == 0 {
		return errors.New("nothing was deployed before the control plane was killed")
	}
	d.done(o)
	took, err := d.start(ctx)
	if err != nil {
		return err
	}
	if _, err := d.audit(ctx); err != nil {
		return fmt.Errorf("after kill -9: %w", err)
	}
	if err := d.listed(ctx, o.Made); err != nil {
		return fmt.Errorf("after kill -9: %w", err)
	}
	report.Progress("place: %s: killed with %d clients at work, and has all of %d VMs; %d were of that round", d.engine, killedLoad, len(d.ids), len(o.Made))
	return report.Print(report.Figure{Name: "place." + d.engine + ".restart", Value: took.Seconds(), Unit: "s"})
}

// listed returns an error unless the API knows all these VMs.
func (d *deployer) listed(ctx context.Context, list []made) error {
	for part := range slices.Chunk(list, idsAtOnce) {
		ids := make([]string, len(part))
		for i, m := range part {
			ids[i] = m.ID
		}
		there, err := d.cloud.VMStatuses(ctx, ids...)
		if err != nil {
			return err
		}
		if len(there) != len(ids) {
			return fmt.Errorf("of %d VMs that were acknowledged %d are listed", len(ids), len(there))
		}
	}
	return nil
}
