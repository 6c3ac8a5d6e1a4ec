//go:build vm

package vmtest_test

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
)

// The tests of this package boot a few VMs each and run one after the other:
// together they would only wait for each other.

// The whole life of two VMs: log in, open and close ports, survive a crash and a
// rest of everything around them, go without a trace.
func TestLife(t *testing.T) { //nolint:paralleltest // see above
	c := newCloud(t)
	web, db := c.deploy(c.wish("web", demoImage)), c.deploy(c.wish("db", demoImage))
	at := map[string]string{}
	guests := map[string]*session{}
	for id, name := range map[string]string{web: "web", db: "db"} {
		v := c.reach(id, client.StatusActive)
		at[id] = v.Address()
		guests[id] = c.login("root", at[id])
		if got := guests[id].run("hostname"); got != name {
			t.Errorf("hostname at %s is %q, want %q", at[id], got, name)
		}
		t.Logf("%s: %s", name, v.Timeline[len(v.Timeline)-1].Text)
	}
	if at[web] == at[db] {
		t.Fatalf("both VMs have the address %s", at[web])
	}
	c.testPorts(web, at[web], guests[web])
	guests[web].run("echo all that I have > /root/kept && sync")
	c.testCrash(guests[web])
	c.testRest(web, at[web])

	c.remove(web, db)
	c.until("nothing is left", func() bool { return len(c.machines())+len(c.names("agent", "vms")) == 0 })
	c.wantOnHost()
	if !c.refused(at[web] + ":22") {
		t.Errorf("something answers at %s", at[web])
	}
	if got, want := c.purse(), [2]string{"255.4", "0"}; got != want {
		t.Errorf("balance and reserve are %v, want %v", got, want)
	}
}

// testPorts opens and closes ports under a session that stays.
func (c *cloud) testPorts(id, address string, guest *session) {
	c.Helper()
	page := address + ":8080"
	if !c.refused(page) {
		c.Errorf("%s answers before it was opened", page)
	}
	c.ports(id, 22, 8080)
	c.until("the page is served", func() bool {
		r, err := http.Get("http://" + page)
		if err != nil {
			return false
		}
		defer r.Body.Close() //nolint:errcheck // only read from
		text, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		return err == nil && strings.Contains(string(text), "<h1>web</h1>")
	})
	guest.run("true")
	c.ports(id, 8080)
	c.until("port 22 is closed", func() bool { return c.refused(address + ":22") })
	guest.run("true") // what was established stays
	c.ports(id, 22)
	c.until("port 8080 is closed", func() bool { return c.refused(page) })
	guest.run("true")
	c.login("root", address)
}

// testCrash kills all that can be killed without a VM, which notices nothing.
func (c *cloud) testCrash(guest *session) {
	c.Helper()
	before, uptime := c.machines(), guest.uptime()
	c.restart()
	guest.run("true") // the session went on all the time
	if after := c.machines(); !maps.Equal(before, after) {
		c.Errorf("machines were %v, are %v after a crash", before, after)
	}
	if now := guest.uptime(); now < uptime {
		c.Errorf("up for %.1f s, then for %.1f s: the guest was started again", uptime, now)
	}
}

// testRest ends the cloud and its VMs and begins anew: the disks are as they were.
func (c *cloud) testRest(id, address string) {
	c.Helper()
	c.down()
	if left := c.machines(); len(left) > 0 {
		c.Errorf("machines %v run after down", left)
	}
	c.start()
	c.reach(id, client.StatusActive)
	guest := c.login("root", address)
	if got := guest.run("cat /root/kept; hostname"); got != "all that I have\nweb" {
		c.Errorf("the guest said %q after a rest", got)
	}
}

func (s *session) uptime() (seconds float64) {
	s.Helper()
	said := s.run("cat /proc/uptime")
	if _, err := fmt.Sscan(said, &seconds); err != nil {
		s.Fatalf("uptime %q: %v", said, err)
	}
	return seconds
}

// pressPower presses the power button of a VM, as its agent does to halt it.
func (c *cloud) pressPower(id string) {
	c.Helper()
	d, err := qemu.New(c.Context(), qemu.Config{Dir: filepath.Join(c.data, "host", "qemu"), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		c.Fatal(err)
	}
	if err := d.Shutdown(c.Context(), id); err != nil {
		c.Fatalf("press the power button: %v", err)
	}
}

// A guest powers itself off when its power button is pressed, and one that does
// so without an order is started again; an image that is none ends its VM and
// costs nothing.
func TestEndings(t *testing.T) { //nolint:paralleltest // see above
	c := newCloud(t)
	bad := c.deploy(c.wish("bad", "nothing.qcow2"))
	good := c.deploy(c.wish("good", demoImage))
	v := c.reach(bad, client.StatusFailed)
	if !strings.Contains(v.Reason, "404") || v.ReservedBalance != "0" || v.TotalSpent != "0" {
		t.Errorf("VM without an image: %q, reserved %s, spent %s", v.Reason, v.ReservedBalance, v.TotalSpent)
	}
	v = c.reach(good, client.StatusActive)
	guest := c.login("root", v.Address())
	boot := guest.run("cat /proc/sys/kernel/random/boot_id")
	before := c.machines()[good]
	guest.run("sync")
	c.pressPower(good)
	c.until("it was started again", func() bool { pid := c.machines()[good]; return pid != 0 && pid != before })
	if again := c.login("root", v.Address()).run("cat /proc/sys/kernel/random/boot_id"); again == boot {
		t.Error("the guest was not booted again")
	}
	if v = c.reach(good, client.StatusActive); !strings.Contains(fmt.Sprint(v.Timeline), "started again (1 times by now)") {
		t.Errorf("the timeline does not tell of the restart: %v", v.Timeline)
	}
	if got, want := c.purse(), [2]string{"255.4", "0.3"}; got != want {
		t.Errorf("balance and reserve are %v, want %v", got, want)
	}
	c.remove(good, bad)
	c.until("nothing is left", func() bool { return len(c.machines())+len(c.names("agent", "vms")) == 0 })
	c.wantOnHost()
}
