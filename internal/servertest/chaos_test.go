package servertest_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	hypervisorfake "github.com/cpucloud/cpucloud/internal/hypervisor/fake"
	networkfake "github.com/cpucloud/cpucloud/internal/network/fake"
	"github.com/cpucloud/cpucloud/internal/servertest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

var chaosSeed = flag.Uint64("chaos.seed", 0, "seed of the chaos test, 0 for another one each time")

// chaos is a cloud whose control plane and agent are processes that get killed.
type chaos struct {
	*testing.T
	cloud   *servertest.Cloud
	agent   *servertest.Agent
	anna    *client.Client
	account string
	images  []string // the last one is not in order

	mu     sync.Mutex
	starts map[string]int    // of the machine of each VM
	fates  map[string]string // of each VM that was acknowledged: what it is to end as
}

// Control plane and agent are killed at any moment while customers deploy,
// change and delete VMs. In the end nothing is lost, doubled or left behind.
func TestKill(t *testing.T) {
	t.Parallel()
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("to repeat it: -chaos.seed=%d", seed)
	c := newChaos(t)
	host := filepath.Join(t.TempDir(), "host")
	serveHost(t, host, hypervisorfake.New(c.agent.Machines), networkfake.New(c.agent.Network))
	listen := listenVariable + "=" + c.cloud.URL[len("http://"):]
	control := newProcess(t, "control", listen, dirVariable+"="+c.cloud.Dir)
	agent := newProcess(t, "agent", listen, dirVariable+"="+c.agent.Dir, hostVariable+"="+host)

	stop := c.killing(seed, control, agent)
	var customers sync.WaitGroup
	for n := range 4 {
		chance := rand.New(rand.NewPCG(seed, uint64(n)))
		customers.Go(func() {
			for i := range 12 {
				c.visit(chance, fmt.Sprintf("request-%d-%d", n, i))
			}
		})
	}
	customers.Wait()
	stop()
	c.settle()
	c.auditStories()
	t.Logf("control plane was killed %d times, agent %d times", control.kills, agent.kills)
	control.kill()
	agent.kill()
	c.audit()
}

// newChaos prepares a cloud in this process and stops it: others take over.
func newChaos(t *testing.T) *chaos {
	t.Helper()
	c := &chaos{T: t, cloud: servertest.Start(t, servertest.Options{}), starts: map[string]int{}, fates: map[string]string{}}
	c.anna = c.cloud.Customer("1000")
	c.agent = c.cloud.Agent(func(a *servertest.Agent) {
		a.Machines.OnStart = func(m hypervisor.Machine) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.starts[m.ID]++
			return nil
		}
	})
	c.images = []string{c.cloud.Demo(), c.cloud.Image("disk.raw", servertest.Disk(8)), c.cloud.Image("page.img", []byte("<html>"))}
	a, err := c.anna.Account(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.account = a.ID
	c.agent.Stop()
	c.cloud.StopServer()
	return c
}

// killing kills and starts the processes again, each with a rhythm of its own,
// until it is told to stop. The shortest lives end before the process has come
// up; all become longer with time, so that something gets done on any host.
func (c *chaos) killing(seed uint64, processes ...*process) (stop func()) {
	done := make(chan struct{})
	var killers sync.WaitGroup
	for n, p := range processes {
		chance := rand.New(rand.NewPCG(seed, 1000+uint64(n)))
		killers.Go(func() {
			for longest := 500 * time.Millisecond; ; longest += longest / 20 {
				life := time.NewTimer(time.Duration(chance.Int64N(int64(longest))))
				select {
				case <-life.C:
					p.kill()
					p.start()
				case <-done:
					life.Stop()
					return
				}
			}
		})
	}
	return func() { close(done); killers.Wait() }
}

// visit is what a customer does with one deployment.
func (c *chaos) visit(chance *rand.Rand, request string) {
	image := chance.IntN(len(c.images) + 3) // most of them are in order
	bad := image == len(c.images)-1
	if image >= len(c.images) {
		image = 0
	}
	d := wish(c.images[image])
	d.Instances, d.RequestID = 1+chance.IntN(2), request
	first := c.deploy(d)
	if again := c.deploy(d); !slices.Equal(first, again) {
		c.Errorf("%s was answered %v, then %v", request, first, again)
	}
	for _, id := range first {
		fate := client.StatusActive
		if bad {
			fate = client.StatusFailed
		}
		if chance.IntN(3) > 0 {
			c.await(chance, id)
		}
		if chance.IntN(3) == 0 && !bad {
			c.insist("update", func(ctx context.Context) error {
				return c.anna.UpdateVMs(ctx, client.Update{ID: id, Ports: []client.Port{{Port: 22, Protocol: "tcp"}, {Port: 80, Protocol: "tcp"}}})
			})
		}
		if chance.IntN(2) == 0 {
			fate = client.StatusStopped
			c.insist("delete", func(ctx context.Context) error {
				_, err := c.anna.DeleteVMs(ctx, id)
				return err
			})
		}
		c.mu.Lock()
		c.fates[id] = fate
		c.mu.Unlock()
	}
}

func (c *chaos) deploy(d client.Deployment) (ids []string) {
	c.insist("deploy", func(ctx context.Context) error {
		made, err := c.anna.Deploy(ctx, d)
		ids = nil
		for _, m := range made {
			ids = append(ids, m.ID)
		}
		return err
	})
	return ids
}

// await follows a VM for a while, as a customer does who has better to do.
func (c *chaos) await(chance *rand.Rand, id string) {
	ctx, cancel := context.WithTimeout(c.Context(), time.Duration(chance.IntN(1500))*time.Millisecond)
	defer cancel()
	_, _ = c.anna.WaitVM(ctx, id, client.StatusActive)
}

// insist does something again until there is an answer.
func (c *chaos) insist(what string, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	for {
		err := do(ctx)
		if err == nil {
			return
		}
		if !client.Unreached(err) || ctx.Err() != nil {
			c.Errorf("%s: %v", what, err)
			return
		}
	}
}

// settle waits, now that nobody is killed any more, until every VM is what it
// was to become, with the ports that were wished last, and the room of all
// others is free again.
func (c *chaos) settle() {
	c.cloud.Await("every VM is what it was to become", func() bool {
		vms, err := c.anna.VMs(c.Context(), client.ListOptions{})
		if err != nil {
			return false
		}
		seen, links := map[string]string{}, c.agent.Links()
		for _, v := range vms {
			seen[v.ID] = v.Status
			if v.Status == client.StatusActive && len(links[v.ID].Ports) != len(v.Ports) {
				return false
			}
		}
		for id, fate := range c.fates {
			if fate == client.StatusStopped && seen[id] != "" || fate != client.StatusStopped && seen[id] != fate {
				return false
			}
		}
		return true
	})
	c.cloud.Await("what ended has given its room back", func() bool {
		offers, err := c.anna.Offers(c.Context(), client.Constraints{BasicConfiguration: small})
		return err == nil && offers[0].Servers[0].AvailableBasicInstances == servertest.Room.Addresses-int64(len(c.alive()))
	})
}

// alive returns the ids of the VMs that are to run, in order.
func (c *chaos) alive() []string {
	var ids []string
	for id, fate := range c.fates {
		if fate == client.StatusActive {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// auditStories looks whether what customers are told is true: their machines ran
// all the time, whoever was killed above them.
func (c *chaos) auditStories() {
	c.Helper()
	for _, id := range c.alive() {
		v, err := c.anna.VM(c.Context(), id)
		if err != nil {
			c.Errorf("VM %s: %v", id, err)
		}
		text := story(v)
		if strings.Contains(text, "started again") || strings.Count(text, "machine started with") > 1 || strings.Count(text, "active at") != 1 {
			c.Errorf("the story of VM %s:\n%s", id, text)
		}
	}
}

// audit compares what is on the server and in the books with what was wished.
func (c *chaos) audit() {
	c.Helper()
	alive := c.alive()
	running, linked := []string{}, []string{}
	for id, start := range c.agent.Running() {
		running = append(running, id)
		if c.starts[id] != 1 || start == 0 {
			c.Errorf("machine of %s was started %d times", id, c.starts[id])
		}
	}
	for id := range c.agent.Links() {
		linked = append(linked, id)
	}
	slices.Sort(running)
	slices.Sort(linked)
	for what, got := range map[string][]string{"machines": running, "links": linked, "folders": c.agent.Files()} {
		if !slices.Equal(got, alive) {
			c.Errorf("%s of %v, want of %v", what, got, alive)
		}
	}
	c.auditFiles()
	c.auditBooks(len(alive))
}

func (c *chaos) auditFiles() {
	c.Helper()
	half, err := filepath.Glob(filepath.Join(c.agent.Dir, "images", "*.part"))
	if err != nil || len(half) > 0 {
		c.Errorf("half-fetched images %v, %v", half, err)
	}
	for _, id := range c.alive() {
		entries, err := os.ReadDir(filepath.Join(c.agent.Dir, "agent", "vms", id))
		if err != nil {
			c.Error(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if want := []string{"base.json", "disk.qcow2", "record.json", "seed.iso"}; !slices.Equal(names, want) {
			c.Errorf("files of %s: %v, want %v", id, names, want)
		}
	}
}

func (c *chaos) auditBooks(alive int) {
	c.Helper()
	books := servertest.Audit(c, filepath.Join(c.cloud.Dir, "cloud.db"), c.account)
	if got, want := len(books.VMs), len(c.fates); got != want {
		c.Errorf("%d VMs were made, %d acknowledged", got, want)
	}
	if got, want := books.Taken.Addresses, int64(alive); got != want {
		c.Errorf("%s are taken, want room for %d VMs", books.Taken, want)
	}
	for _, v := range books.VMs {
		fate := c.fates[v.ID]
		if string(v.State) != fate {
			c.Errorf("VM %s is %s, want %q", v.ID, v.State, fate)
		}
		if v.State == vm.Active && (v.Reserved != price || v.Spent != price) {
			c.Errorf("VM %s is active: reserved %s, spent %s", v.ID, v.Reserved, v.Spent)
		}
		if v.State.Ended() && (v.Reserved != 0 || v.Spent > price || !v.Gone) {
			c.Errorf("VM %s has ended: reserved %s, spent %s, gone %t", v.ID, v.Reserved, v.Spent, v.Gone)
		}
		if v.State == vm.Failed && v.Spent != 0 {
			c.Errorf("VM %s never was Active and cost %s", v.ID, v.Spent)
		}
	}
}
