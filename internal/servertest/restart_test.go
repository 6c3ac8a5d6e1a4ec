package servertest_test

import (
	"crypto/rand"
	"maps"
	"testing"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/servertest"
)

// Whatever is restarted above the machines, they stay as they are.
func TestRestartsChangeNothing(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	a, anna := cloud.Agent(), cloud.Customer("10")
	d := wish(cloud.Demo())
	d.Instances = 3
	ids := deploy(t, anna, d)
	for _, id := range ids {
		reach(t, anna, id, client.StatusActive)
	}
	before := a.Running()
	for name, restart := range map[string]func(){
		"agent":         a.Restart,
		"control plane": func() { cloud.StopServer(); cloud.StartServer() },
		"both":          func() { cloud.StopServer(); a.Restart(); cloud.StartServer() },
	} {
		restart()
		// What is ordered now is done after all that the restart brought about.
		id := deploy(t, anna, wish(cloud.Demo()))[0]
		reach(t, anna, id, client.StatusActive)
		remove(t, anna, id)
		cloud.Await("the newest VM is removed", func() bool { return len(a.Files()) == len(ids) })
		if after := a.Running(); !maps.Equal(before, after) {
			t.Errorf("after a restart of %s machines are %v, were %v", name, after, before)
		}
		for _, id := range ids {
			reach(t, anna, id, client.StatusActive)
		}
	}
	wantPurse(t, anna, 10*money.USDC-3*2*price-3*price, 3*price, 6*price) // three that run, three that ended
}

// A VM boots while nobody hears of it, and is Active when the control plane is
// back; what was wished while it was down is not lost either.
func TestControlPlaneAwayWhileBooting(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	starting, hold := make(chan struct{}), make(chan struct{})
	a := cloud.Agent(func(a *servertest.Agent) {
		a.Machines.OnStart = func(hypervisor.Machine) error { close(starting); <-hold; return nil }
	})
	anna := cloud.Customer("10")
	id := deploy(t, anna, wish(cloud.Demo()))[0]
	<-starting
	cloud.StopServer()
	close(hold)
	cloud.Await("the machine runs", func() bool { return a.Running()[id] == 1 })
	if _, err := anna.Account(t.Context()); !client.Unreached(err) {
		t.Errorf("account while the control plane is away: %v", err)
	}
	cloud.StartServer()
	reach(t, anna, id, client.StatusActive)
	wantPurse(t, anna, 10*money.USDC-2*price, price, price)
	if n := a.Running()[id]; n != 1 {
		t.Errorf("start %d, want the first", n)
	}
}

// What ends by itself, and what a reboot of the host ends, is started again with
// the disk and the address it had, and its VM stays Active.
func TestWhatEndsIsStartedAgain(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	a, anna := cloud.Agent(), cloud.Customer("10")
	d := wish(cloud.Demo())
	d.Instances = 2
	ids := deploy(t, anna, d)
	disks, addresses := map[string]string{}, map[string]string{}
	for _, id := range ids {
		addresses[id] = reach(t, anna, id, client.StatusActive).Address()
		m, _ := a.Machines.Machine(id)
		disks[id] = m.Disks[0].Path
	}
	a.Machines.Kill(ids[0], "the guest powered off")
	cloud.Await("the machine runs again", func() bool { return a.Running()[ids[0]] > len(ids) })

	a.Stop()
	a.Machines.Restart()
	if err := a.Network.Crash(); err != nil {
		t.Fatal(err)
	}
	a.Start()
	cloud.Await("all run again", func() bool { return len(a.Running()) == len(ids) })
	for _, id := range ids {
		m, _ := a.Machines.Machine(id)
		if got := a.Links()[id].Address.String(); m.Disks[0].Path != disks[id] || got != addresses[id] {
			t.Errorf("disk %s at %s, was %s at %s", m.Disks[0].Path, got, disks[id], addresses[id])
		}
		reach(t, anna, id, client.StatusActive)
	}
	wantPurse(t, anna, 10*money.USDC-2*2*price, 2*price, 2*price)
}

// Who comes without the key of a server is not taken for it, and a join token
// is good for one.
func TestSecondIdentityIsRefused(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	a := cloud.Agent()
	e := agent.Enrollment{Dir: t.TempDir(), URL: cloud.URL, Token: cloud.JoinToken(), Inventory: a.Config.Inventory, Rand: rand.Reader}
	if _, err := agent.Enroll(t.Context(), e); err != nil {
		t.Fatalf("join: %v", err)
	}
	e.Dir = t.TempDir() // so it makes another key
	if _, err := agent.Enroll(t.Context(), e); !fault.Is(err, fault.Denied) {
		t.Errorf("join with a used token: %v, want Denied", err)
	}
	e.Token = "join_guessed"
	if _, err := agent.Enroll(t.Context(), e); !fault.Is(err, fault.Denied) {
		t.Errorf("join with a guessed token: %v, want Denied", err)
	}
	if err := agent.New(a.Config).Run(t.Context()); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second agent in the folder: %v, want Conflict", err)
	}
}
