package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/cpucloud/cpucloud/bench/internal/database"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
)

// image is what VMs boot from; it is never fetched.
const image = "https://images.example/none.qcow2"

// deployment asks for VMs of a wish.
func deployment(w *wish, instances int, key string) client.Deployment {
	return client.Deployment{
		Constraints: w.request(), Instances: instances,
		VM: client.VMConfiguration{Name: "bench", OSImage: image, SSHKeys: []string{key}},
	}
}

// keyLine returns a public key as customers give theirs.
func keyLine() (string, error) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}

// deployer has clients of a control plane deploy one VM after another.
type deployer struct {
	*plane
	mix   []wish
	next  int // wish to go on with
	tasks task
}

func (b *bench) newDeployer(ctx context.Context, engine string) (*deployer, error) {
	p, err := b.plane(ctx, engine)
	if err != nil {
		return nil, err
	}
	key, err := keyLine()
	if err != nil {
		return nil, err
	}
	d := &deployer{plane: p, mix: makeMix(mixSize)}
	d.tasks = task{Path: "/vms/v3", For: b.phase, Deploys: true}
	d.tasks.Bodies, err = bodies(d.mix, func(w *wish) any { return deployment(w, 1, key) })
	return d, err
}

// task returns a load of so many clients, that goes on with the next wishes.
func (d *deployer) task(clients int) task {
	t := d.tasks
	t.Address, t.Key, t.Clients, t.First = d.address(), d.key, clients, d.next
	return t
}

// done notes what a load has done.
func (d *deployer) done(o outcome) {
	d.next += len(o.Took) + o.Refused
	for _, m := range o.Made {
		d.ids = append(d.ids, m.ID)
	}
}

// round deploys for a while, and audits what came of it. It returns the
// microseconds of processor time that the control plane took for each VM, too.
func (d *deployer) round(ctx context.Context, clients int) (outcome, float64, error) {
	o, cost, err := loadCost(ctx, d.task(clients), d.pid)
	if err != nil {
		return o, 0, err
	}
	d.done(o)
	_, err = d.audit(ctx)
	return o, cost, err
}

// placements is what deployers have done at one number of clients.
type placements struct {
	rates []float64 // VMs per second, round by round
	costs []float64 // microseconds of processor time of the control plane per VM
	all   outcome
}

// place measures how many VMs are deployed per second, one to a request, beside
// the rows that PostgreSQL can take at as many connections.
func (b *bench) place(ctx context.Context) error {
	rows, err := b.rowFloor(ctx)
	if err != nil {
		return err
	}
	var deployers []*deployer
	for _, engine := range database.Engines {
		d, err := b.newDeployer(ctx, engine)
		if err != nil {
			return err
		}
		deployers = append(deployers, d)
	}
	if err := b.measuring(); err != nil {
		return err
	}
	for _, clients := range []int{8, 32} {
		var floor []float64
		seen := make([]placements, len(deployers))
		for range b.rounds {
			rate, err := rows.round(ctx, clients, b.phase)
			if err != nil {
				return err
			}
			floor = append(floor, rate)
			for i, d := range deployers {
				o, cost, err := d.round(ctx, clients)
				if err != nil {
					return fmt.Errorf("%s: %w", d.engine, err)
				}
				rate := float64(len(o.Made)) / o.Seconds
				report.Progress("place: %d clients on %s: %.0f VMs/s, %d refused; rows: %.0f/s", clients, d.engine, rate, o.Refused, floor[len(floor)-1])
				seen[i].rates, seen[i].costs = append(seen[i].rates, rate), append(seen[i].costs, cost)
				seen[i].all.add(o)
			}
		}
		for i, d := range deployers {
			if err := report.Print(seen[i].figures(fmt.Sprintf("place.%s.%d", d.engine, clients), report.Median(floor))...); err != nil {
				return err
			}
		}
	}
	for _, d := range deployers {
		if err := d.prove(ctx, b.inProcess); err != nil {
			return fmt.Errorf("%s: %w", d.engine, err)
		}
	}
	return nil
}

func (p *placements) figures(name string, floor float64) []report.Figure {
	asked := len(p.all.Took) + p.all.Refused
	return []report.Figure{
		{Name: name, Value: report.Median(p.rates), Unit: "VMs/s", Floor: floor, Bar: ">=0.5"},
		{Name: name + ".refused", Value: 100 * float64(p.all.Refused) / float64(asked), Unit: "%"},
		{Name: name + ".cpu", Value: report.Median(p.costs), Unit: "us/VM"},
		{Name: name + ".p50", Value: report.Quantile(p.all.Took, 0.5), Unit: "ms"},
		{Name: name + ".p99", Value: report.Quantile(p.all.Took, 0.99), Unit: "ms"},
	}
}
