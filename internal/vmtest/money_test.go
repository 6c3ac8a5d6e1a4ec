//go:build vm

package vmtest_test

import (
	"net"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
)

// A VM that is not paid for is powered off with its disk kept, and comes back
// with its files and its address once there is money again.
func TestOutOfFunds(t *testing.T) { //nolint:paralleltest // see life_test.go
	c := prepare(t)
	c.flags = []string{"--clock", "test"}
	c.start()
	env := c.environment("admin.env")
	operator := client.New(env["CPUCLOUD_URL"], env["CPUCLOUD_ADMIN_KEY"])
	account, err := c.anna.Account(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	balance := func(amount client.Amount) {
		t.Helper()
		if _, err := operator.SetBalance(t.Context(), account.ID, amount, "a test"); err != nil {
			t.Fatalf("set balance: %v", err)
		}
	}
	epoch := func() {
		t.Helper()
		if _, err := operator.AdvanceClock(t.Context(), 24*time.Hour); err != nil {
			t.Fatalf("advance clock: %v", err)
		}
	}

	id := c.deploy(c.wish("shop", demoImage))
	v := c.reach(id, client.StatusActive)
	address := v.Address()
	guest := c.login("root", address)
	boot := guest.run("echo twelve orders > /root/orders; sync; cat /proc/sys/kernel/random/boot_id")
	before := c.machines()[id]

	balance("0")
	epoch()
	if v = c.reach(id, client.StatusSmallBalance); v.Payment == nil || v.Address() != address {
		t.Errorf("short of money: payment %v, address %q, want what is missing and %s", v.Payment, v.Address(), address)
	}
	guest.run("true") // it runs on what is paid
	epoch()
	if v = c.reach(id, client.StatusInsufficientFunds); v.Address() != "" || v.Reason != "payment_due" {
		t.Errorf("unpaid: address %q, reason %q", v.Address(), v.Reason)
	}
	c.until("the machine is off", func() bool { return c.machines()[id] == 0 })
	if said := c.greeting(address + ":22"); said != "" {
		t.Errorf("%s says %q", address, said)
	}

	c.restart() // nothing that is restarted starts what is not paid for
	operator = client.New(env["CPUCLOUD_URL"], env["CPUCLOUD_ADMIN_KEY"])
	if n := c.machines()[id]; n != 0 {
		t.Errorf("machine %d runs unpaid", n)
	}
	balance("5")
	if v = c.reach(id, client.StatusActive); v.Address() != address {
		t.Errorf("it came back at %s, was at %s", v.Address(), address)
	}
	if now := c.machines()[id]; now == 0 || now == before {
		t.Errorf("machine %d runs, was %d", now, before)
	}
	guest = c.login("root", address)
	if got := guest.run("cat /root/orders"); got != "twelve orders" {
		t.Errorf("its file says %q", got)
	}
	if guest.run("cat /proc/sys/kernel/random/boot_id") == boot {
		t.Error("it was never powered off")
	}
	if earned, err := c.provider().Providers(t.Context()); err != nil || len(earned) != 1 || earned[0].Earned == "0" {
		t.Errorf("the provider of this machine has earned %+v, %v", earned, err)
	}
	c.remove(id)
	c.until("nothing is left", func() bool { return len(c.machines())+len(c.names("agent", "vms")) == 0 })
	found, err := operator.Fsck(t.Context())
	if err != nil || !found.Sound {
		t.Errorf("fsck: %+v, %v", found, err)
	}
}

// provider returns the client of whom the machine earns for.
func (c *cloud) provider() *client.Client {
	c.Helper()
	env := c.environment("provider.env")
	return client.New(env["CPUCLOUD_URL"], env["CPUCLOUD_API_KEY"])
}

// greeting returns the first that is said at an address within a moment, "" for
// nothing.
func (c *cloud) greeting(address string) string {
	c.Helper()
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close() //nolint:errcheck // only read from
	if err := conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
		c.Fatal(err)
	}
	said := make([]byte, 64)
	n, _ := conn.Read(said)
	return string(said[:n])
}
