package servertest_test

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/servertest"
)

// small costs 0.3 USDC per epoch.
const (
	small = "cpu-2-ram-4gb-storage-25gb"
	price = 300_000 * money.Amount(1)
)

func wish(image string) client.Deployment {
	return client.Deployment{
		Constraints: client.Constraints{BasicConfiguration: small}, Instances: 1,
		VM: client.VMConfiguration{Name: "web", OSImage: image, SSHKeys: []string{"laptop"}},
	}
}

func deploy(t *testing.T, c *client.Client, d client.Deployment) []string {
	t.Helper()
	made, err := c.Deploy(t.Context(), d)
	if err != nil {
		t.Fatalf("deploy: %v", err)
	}
	ids := make([]string, len(made))
	for i, m := range made {
		ids[i] = m.ID
	}
	return ids
}

// reach waits until a VM has a status and returns it.
func reach(t *testing.T, c *client.Client, id, status string) client.VM {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	v, err := c.WaitVM(ctx, id, status)
	if err != nil || v.Status != status {
		t.Fatalf("wait for %s: VM is %s (%s), %v\n%s", status, v.Status, v.Reason, err, story(v))
	}
	return v
}

func story(v client.VM) string {
	var lines []string
	for _, e := range v.Timeline {
		lines = append(lines, e.Text)
	}
	return strings.Join(lines, "\n")
}

// wantPurse compares what an account has.
func wantPurse(t *testing.T, c *client.Client, free, reserved, spent money.Amount) {
	t.Helper()
	a, err := c.Account(t.Context())
	if err != nil {
		t.Fatalf("account: %v", err)
	}
	got, want := [...]string{a.Balance, a.Reserved, a.Spent}, [...]string{free.String(), reserved.String(), spent.String()}
	if got != want {
		t.Errorf("balance, reserved, spent = %v, want %v", got, want)
	}
}

func remove(t *testing.T, c *client.Client, ids ...string) {
	t.Helper()
	if _, err := c.DeleteVMs(t.Context(), ids...); err != nil {
		t.Fatalf("delete: %v", err)
	}
}

// awaitEmpty waits until nothing is left on a server.
func awaitEmpty(c *servertest.Cloud, a *servertest.Agent) {
	c.Await("nothing is left on the server", func() bool {
		return len(a.Running())+len(a.Links())+len(a.Files()) == 0
	})
}

func TestDeploy(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	boot := make(chan struct{}) // closed when the guests may answer
	a := cloud.Agent(func(a *servertest.Agent) {
		answers := a.Config.Probe
		a.Config.Probe = func(ctx context.Context, address netip.AddrPort) error {
			select {
			case <-boot:
				return answers(ctx, address)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	anna := cloud.Customer("10")
	id := deploy(t, anna, wish(cloud.Demo()))[0]
	wantPurse(t, anna, 10*money.USDC-2*price, 2*price, 0)

	v := reach(t, anna, id, client.StatusLaunching)
	if v.Address() != "" || v.TotalSpent != "0" {
		t.Errorf("launching VM has address %q and has spent %s, want none", v.Address(), v.TotalSpent)
	}
	close(boot)
	v = reach(t, anna, id, client.StatusActive)
	wantPurse(t, anna, 10*money.USDC-2*price, price, price)
	if v.Address() != a.Links()[id].Address.String() || !v.NextBillingAt.Equal(v.StatusChangedAt.Add(24*time.Hour)) {
		t.Errorf("address %s, active since %v, next billing %v", v.Address(), v.StatusChangedAt, v.NextBillingAt)
	}
	order := []string{
		"accepted at 0.3 USDC per epoch", "image fetched and checked", "disk of 25 GiB made", "is ready, open ports: 22/tcp",
		"machine started with 2 vCPU and 4 GiB", "SSH answered after", "active at " + v.Address(),
	}
	text, from := story(v), 0
	for _, line := range order {
		at := strings.Index(text[from:], line)
		if at < 0 {
			t.Fatalf("the story lacks %q at its place:\n%s", line, text)
		}
		from += at
	}

	remove(t, anna, id)
	wantPurse(t, anna, 10*money.USDC-price, 0, price)
	awaitEmpty(cloud, a)
	remove(t, anna, id) // again moves nothing
	wantPurse(t, anna, 10*money.USDC-price, 0, price)
}

func TestDeleteWhileLaunching(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	a := cloud.Agent(func(a *servertest.Agent) {
		a.Config.Probe = func(ctx context.Context, _ netip.AddrPort) error { <-ctx.Done(); return ctx.Err() } // never answers
	})
	anna := cloud.Customer("10")
	id := deploy(t, anna, wish(cloud.Demo()))[0]
	reach(t, anna, id, client.StatusLaunching)
	cloud.Await("the machine runs", func() bool { return a.Running()[id] > 0 })
	remove(t, anna, id)
	wantPurse(t, anna, 10*money.USDC, 0, 0)
	awaitEmpty(cloud, a)
}

func TestPortsChangeUnderARunningMachine(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	a, anna := cloud.Agent(), cloud.Customer("10")
	id := deploy(t, anna, wish(cloud.Demo()))[0]
	reach(t, anna, id, client.StatusActive)
	for _, ports := range [][]client.Port{
		{{Port: 22, Protocol: "tcp"}, {Port: 53, Protocol: "udp"}, {Port: 8080, Protocol: "tcp"}},
		{{Port: 8080, Protocol: "tcp"}},
		{},
	} {
		if err := anna.UpdateVMs(t.Context(), client.Update{ID: id, Ports: ports}); err != nil {
			t.Fatalf("update: %v", err)
		}
		want := []network.Port{}
		for _, p := range ports {
			want = append(want, network.Port{Number: uint16(p.Port), Protocol: p.Protocol})
		}
		cloud.Await("the ports are open", func() bool { return slices.Equal(a.Links()[id].Ports, want) })
	}
	if start := a.Running()[id]; start != 1 || !a.Network.Plugged(id) {
		t.Errorf("start %d, plugged %t; want the machine left alone", start, a.Network.Plugged(id))
	}
	reach(t, anna, id, client.StatusActive)
}

// counter counts the requests for one VM.
type counter struct{ requests atomic.Int64 }

// RoundTrip implements http.RoundTripper.
func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Has("wait") {
		c.requests.Add(1)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// A request that waits is answered when the thing happens: it need not be asked
// again.
func TestLongPoll(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	ready, count := make(chan struct{}), &counter{}
	cloud.Agent(func(a *servertest.Agent) {
		a.Config.Probe = func(ctx context.Context, _ netip.AddrPort) error {
			select {
			case <-ready:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	anna := cloud.Customer("10", client.WithHTTPClient(&http.Client{Transport: count}))
	id := deploy(t, anna, wish(cloud.Demo()))[0]
	go func() {
		cloud.Await("somebody waits", func() bool { return count.requests.Load() == 1 })
		close(ready)
	}()
	reach(t, anna, id, client.StatusActive)
	if n := count.requests.Load(); n != 1 {
		t.Errorf("%d requests until it was Active, want one", n)
	}
}

func TestInstancesOnSeveralServers(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	one := func(a *servertest.Agent) { a.Config.Inventory.Total.Addresses = 1 } // room for one VM each
	a, b, anna := cloud.Agent(one), cloud.Agent(one), cloud.Customer("10")
	d := wish(cloud.Demo())
	d.Instances = 2
	ids := deploy(t, anna, d)
	for _, id := range ids {
		reach(t, anna, id, client.StatusActive)
	}
	if len(a.Running()) != 1 || len(b.Running()) != 1 {
		t.Errorf("%d and %d machines, want one on each server", len(a.Running()), len(b.Running()))
	}
	if _, err := anna.Deploy(t.Context(), wish(cloud.Demo())); client.StatusOf(err) == 0 {
		t.Errorf("a third VM: %v, want a refusal", err)
	}
	remove(t, anna, ids...)
	awaitEmpty(cloud, a)
	awaitEmpty(cloud, b)
	cloud.Await("the room is free again", func() bool {
		offers, err := anna.Offers(t.Context(), client.Constraints{BasicConfiguration: small})
		return err == nil && len(offers) == 1 && len(offers[0].Servers) == 2
	})
	wantPurse(t, anna, 10*money.USDC-2*price, 0, 2*price)
}

func TestManyOnOneServer(t *testing.T) {
	t.Parallel()
	const vms = 100
	cloud := servertest.Start(t, servertest.Options{})
	a, anna := cloud.Agent(), cloud.Customer("100")
	d := wish(cloud.Demo())
	d.Instances = vms
	ids := deploy(t, anna, d)
	for _, id := range ids {
		reach(t, anna, id, client.StatusActive)
	}
	wantPurse(t, anna, 100*money.USDC-2*vms*price, vms*price, vms*price)
	addresses := map[netip.Addr]bool{}
	for _, l := range a.Links() {
		addresses[l.Address] = true
	}
	if len(a.Running()) != vms || len(addresses) != vms {
		t.Errorf("%d machines at %d addresses, want %d", len(a.Running()), len(addresses), vms)
	}
	remove(t, anna, ids...)
	awaitEmpty(cloud, a)
	wantPurse(t, anna, 100*money.USDC-vms*price, 0, vms*price)
}

// A deposit that the balance does not carry changes nothing anywhere.
func TestPoorCustomer(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	a, anna := cloud.Agent(), cloud.Customer("0.599999")
	if _, err := anna.Deploy(t.Context(), wish(cloud.Demo())); client.StatusOf(err) != http.StatusUnprocessableEntity {
		t.Errorf("deploy: %v, want a refusal with 422", err)
	}
	wantPurse(t, anna, 599_999, 0, 0)
	if n := len(a.Files()); n != 0 {
		t.Errorf("%d VMs have files", n)
	}
}

// A key with a limit deploys as far as that goes, a dry run of it tells no lies, and
// revoking the key ends nothing but the key.
func TestLimitedKey(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	cloud.Agent()
	anna := cloud.Customer("10")
	key, err := anna.CreateAPIKey(t.Context(), "ci", "", client.Limits{PerDay: new("0.5")})
	if err != nil {
		t.Fatal(err)
	}
	ci := client.New(cloud.URL, key.Secret)
	d := wish(cloud.Demo())
	plan, err := ci.Plan(t.Context(), client.PlacedDeployment{Placing: client.Placing{Constraints: client.Wishes{Constraints: d.Constraints}, Instances: 1}, VM: d.VM})
	if err != nil || plan.Total != "0.3" || plan.BalanceAfter != "9.4" || plan.Limits.Key.PerDay.Used != "0.3" {
		t.Fatalf("plan: %+v, %v", plan, err)
	}
	if made, err := ci.DryRun().Deploy(t.Context(), d); err != nil || len(made) != 0 {
		t.Errorf("a dry run: %v, %v", made, err)
	}
	wantPurse(t, anna, 10*money.USDC, 0, 0)
	id := deploy(t, ci, d)[0]
	reach(t, ci, id, client.StatusActive)
	for _, c := range []*client.Client{ci, ci.DryRun()} {
		if _, err := c.Deploy(t.Context(), d); client.StatusOf(err) != http.StatusUnprocessableEntity || !strings.Contains(err.Error(), "the limit of API key "+key.ID) {
			t.Errorf("a second VM: %v, want a refusal for the key's limit", err)
		}
	}
	if err := anna.RevokeAPIKey(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := ci.Account(t.Context()); client.StatusOf(err) != http.StatusForbidden {
		t.Errorf("the revoked key: %v, want a refusal with 403", err)
	}
	if v, err := anna.VM(t.Context(), id); err != nil || v.Status != client.StatusActive {
		t.Errorf("the VM of the revoked key is %s, %v", v.Status, err)
	}
	wantPurse(t, anna, 10*money.USDC-2*price, price, price)
}
