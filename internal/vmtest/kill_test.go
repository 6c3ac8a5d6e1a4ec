//go:build vm

package vmtest_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/servertest"
)

var killSeed = flag.Uint64("kill.seed", 0, "seed of the moments to kill at, 0 for other ones each time")

// `up` is killed again and again while VMs are deployed and deleted: in the end
// nothing is lost, doubled or left behind.
func TestKill(t *testing.T) { //nolint:paralleltest // see TestLife
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("to repeat it: -kill.seed=%d", seed)
	c := newCloud(t)
	done := make(chan struct{})
	var customer sync.WaitGroup
	customer.Go(func() {
		defer close(done)
		c.buy()
	})
	kills := c.killUntil(done, rand.New(rand.NewPCG(seed, 0)))
	customer.Wait()
	t.Logf("up was killed %d times", kills)

	vms, err := c.anna.VMs(t.Context(), client.ListOptions{})
	if err != nil || len(vms) != 2 {
		t.Fatalf("%d VMs, %v; want the two that were not deleted", len(vms), err)
	}
	ids := []string{}
	for _, v := range vms {
		v = c.reach(v.ID, client.StatusActive)
		if got := c.login("root", v.Address()).run("hostname"); got != v.Name {
			t.Errorf("hostname is %q, want %q", got, v.Name)
		}
		ids = append(ids, v.ID)
	}
	c.until("what was deleted is gone", func() bool { return len(c.names("agent", "vms"))+len(c.names("host", "qemu")) == 4 })
	c.wantOnHost(ids...)
	account, err := c.anna.Account(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.end(syscall.SIGTERM); err != nil {
		t.Errorf("up ended with %v when it was asked to", err)
	}
	books := servertest.Audit(t, filepath.Join(c.data, "cloud.db"), account.ID)
	if books.Paid != 256*money.USDC || books.Reserved != 2*300_000 || len(books.VMs) != 4 {
		t.Errorf("paid %s, reserved %s, %d VMs; want 256, 0.6, 4", books.Paid, books.Reserved, len(books.VMs))
	}
}

// However often the first start is cut off, in the end there is one server, and
// one customer with the demo balance.
func TestKillWhileStarting(t *testing.T) { //nolint:paralleltest // see TestLife
	c := prepare(t)
	before := c.orphans()
	for life := 5 * time.Millisecond; life < 800*time.Millisecond; life += life / 3 {
		c.spawn()
		moment := time.NewTimer(life)
		select {
		case <-moment.C:
		case err := <-c.ended:
			t.Fatalf("up ended: %v", err)
		}
		_ = c.end(syscall.SIGKILL)
	}
	c.start()
	if got, want := c.purse(), [2]string{"256", "0"}; got != want {
		t.Errorf("balance and reserve are %v, want %v", got, want)
	}
	offers, err := c.anna.Offers(t.Context(), client.Constraints{})
	servers := 0
	for _, o := range offers {
		servers = max(servers, len(o.Servers))
	}
	if err != nil || servers != 1 {
		t.Errorf("%d servers in %d offers, %v; want one", servers, len(offers), err)
	}
	for pid := range c.orphans() {
		if !before[pid] {
			t.Errorf("process %d was left over: a guest that only was to prove that guests run", pid)
		}
	}
}

// buy deploys four VMs and deletes two, the first while it is launched, the
// second when it runs.
func (c *cloud) buy() {
	insist := func(do func(context.Context) error) {
		for err := do(c.Context()); err != nil; err = do(c.Context()) {
			if !client.Unreached(err) {
				c.Errorf("refused: %v", err)
				return
			}
		}
	}
	ids := make([]string, 4)
	for n := range ids {
		d := c.wish(fmt.Sprintf("vm-%d", n), demoImage)
		d.RequestID = d.VM.Name
		insist(func(ctx context.Context) error {
			made, err := c.anna.Deploy(ctx, d)
			if err == nil {
				ids[n] = made[0].ID
			}
			return err
		})
	}
	c.made = ids
	remove := func(id string) {
		insist(func(ctx context.Context) error { _, err := c.anna.DeleteVM(ctx, id, true); return err })
	}
	remove(ids[0])
	insist(func(ctx context.Context) error {
		v, err := c.anna.WaitVM(ctx, ids[1], client.StatusActive)
		if err == nil && v.Status != client.StatusActive {
			c.Errorf("VM is %s: %s", v.Status, v.Reason)
		}
		return err
	})
	remove(ids[1])
}

// killUntil kills and restarts `up` at random moments until done is closed. It
// lets it live longer each time, so that done comes however slow the host is.
func (c *cloud) killUntil(done <-chan struct{}, chance *rand.Rand) (kills int) {
	for longest := time.Second; ; longest += longest / 2 {
		life := time.NewTimer(time.Duration(chance.Int64N(int64(longest))))
		select {
		case <-life.C:
			c.restart()
			kills++
		case <-done:
			life.Stop()
			return kills
		}
	}
}
