package servertest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/servertest"
)

// A VM that its server can't start runs on another one in the end, by the same
// deposit, and nothing of it stays on the first.
func TestReplacement(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{TestClock: true})
	broken := cloud.Agent(func(a *servertest.Agent) {
		a.Machines.OnStart = func(hypervisor.Machine) error { return errors.New("the accelerator is gone") }
	})
	anna := cloud.Customer("1")
	id := deploy(t, anna, wish(cloud.Demo()))[0]
	v := reach(t, anna, id, client.StatusLaunching)
	cloud.Await("the VM has files on its first server", func() bool { return len(broken.Files()) == 1 })

	good := cloud.Agent()
	if _, err := cloud.Operator.AdvanceClock(t.Context(), time.Until(*v.Deadline)); err != nil {
		t.Fatalf("advance clock: %v", err)
	}
	reach(t, anna, id, client.StatusActive)
	if n := len(good.Running()); n != 1 {
		t.Errorf("%d machines run on the good server, want 1", n)
	}
	awaitEmpty(cloud, broken)
	wantPurse(t, anna, money.USDC-2*price, price, price)
	remove(t, anna, id)
	awaitEmpty(cloud, good)
	wantPurse(t, anna, money.USDC-price, 0, price)
}
