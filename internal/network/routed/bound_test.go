//go:build net

package routed_test

import (
	"io"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network/routed"
)

// A tap is never up before its rules are in: where they can't be written, it
// stays down, and the VM gets no plug.
func TestNothingIsUpBeforeTheRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	// Another process owns the table, so that nobody else can change it.
	var commands io.WriteCloser
	var owner *exec.Cmd
	w.host.in(func() {
		owner = exec.CommandContext(t.Context(), "nft", "-i")
		var err error
		if commands, err = owner.StdinPipe(); err == nil {
			err = owner.Start()
		}
		if err != nil {
			t.Error(err)
		}
	})
	if _, err := io.WriteString(commands, "add table inet cpucloud { flags owner; }\n"); err != nil {
		t.Fatal(err)
	}
	owned := func() bool { return strings.Contains(w.host.output("nft list tables"), "inet cpucloud") }
	if !within(10*time.Second, owned) {
		t.Fatal("the table wasn't made")
	}
	l := w.link(1, tcp(22))
	if err := d.Ensure(t.Context(), l); err == nil {
		t.Fatal("Ensure succeeded without its rules")
	}
	for line := range strings.Lines(w.host.output("ip link show type tun")) {
		if strings.Contains(line, "cpuc-") && strings.Contains(line, ",UP") {
			t.Errorf("a tap is up without its rules: %s", line)
		}
	}
	if out := w.host.output("ip route show proto 86"); out != "" {
		t.Errorf("routes are there without rules: %s", out)
	}
	if _, err := d.Plug(t.Context(), l.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("Plug = %v, want %v", err, fault.NotFound)
	}
	_ = commands.Close()
	_ = owner.Wait()
	if !within(10*time.Second, func() bool { return !owned() }) {
		t.Fatal("the table didn't go with its owner")
	}
	vm := w.boot(t, d, l)
	vm.serve("tcp", netip.AddrPortFrom(vm.addr(), 22))
	if !w.client.reaches("tcp", netip.AddrPortFrom(vm.addr(), 22)) {
		t.Error("the VM doesn't answer once its rules could be written")
	}
}

// A VM gets no more than its bandwidth, neither way.
func TestBandwidth(t *testing.T) {
	t.Parallel()
	const rate = 8_000_000 // 1 MB/s
	w := newWorld(t, func(c *routed.Config) { c.Rate = rate })
	d := w.driver(t)
	vm := w.boot(t, d, w.link(1, tcp(80)))
	w.client.serve("tcp", at(client4, 80))
	vm.serve("tcp", netip.AddrPortFrom(vm.addr(), 80))
	for _, v := range []struct {
		name string
		from space
		to   netip.AddrPort
	}{{"sends", vm.space, at(client4, 80)}, {"receives", w.client, netip.AddrPortFrom(vm.addr(), 80)}} {
		// What is sent comes back, so each way carries all of it.
		conn, err := v.from.dial("tcp", v.to, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		const amount = 1 << 20
		begin := time.Now()
		go func() { _, _ = conn.Write(make([]byte, amount)) }()
		for got, b := 0, make([]byte, 64<<10); got < amount; {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatalf("a VM that %s: %v", v.name, err)
			}
			got += n
		}
		// The bursts at the start are 128 KiB each.
		least := time.Duration(amount-2*(128<<10)) * 8 * time.Second / rate
		if took := time.Since(begin); took < least {
			t.Errorf("a VM that %s moved %d bytes in %v, want at least %v at %d bit/s", v.name, amount, took, least, rate)
		}
		_ = conn.Close()
	}
	// What it sends without asking, as datagrams, is lost above its rate.
	frame := ether(gatewayMAC, mac(vm.link.MAC), 0x0800, datagram(netip.AddrPortFrom(vm.addr(), 1), at(client4, 9000), strings.Repeat("x", 1400)))
	before, _ := w.verdicts()
	const sent = 4000
	begin := time.Now()
	for range sent {
		vm.send(frame)
	}
	// After a pause a second's worth may go at once, and a burst.
	most := (rate/8 + 128<<10 + int(time.Since(begin).Seconds()*rate/8)) * 11 / 10 / 1400
	after, _ := w.verdicts()
	if got := after - before; got > most || got == 0 {
		t.Errorf("of %d datagrams %d came through, want some and at most %d", sent, got, most)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	before := w.snapshot()
	if err := w.driver(t).Probe(t.Context()); err != nil {
		t.Errorf("Probe = %v, want nil", err)
	}
	if after := w.snapshot(); after != before {
		t.Errorf("the probe has left something: %s", after)
	}
	w.config.Uplink = "nowhere0"
	if err := w.driver(t).Probe(t.Context()); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "--uplink") {
		t.Errorf("Probe without the uplink = %v, want one that says to name it", err)
	}
	w.config.Uplink = "up0"
	for name, v := range map[string]struct{ command, undo, finding string }{
		"a chain that drops": {"nft add table inet o; nft add chain inet o f { type filter hook forward priority 0 ; policy drop ; }", "nft delete table inet o", "forwarding"},
		"a route elsewhere":  {"ip route add 45.0.0.66/32 via 45.0.0.9", "ip route del 45.0.0.66/32", "address pool"},
		"its own address":    {"ip addr add 45.0.0.67/32 dev lo", "ip addr del 45.0.0.67/32 dev lo", "address pool"},
	} {
		for c := range strings.SplitSeq(v.command, "; nft") {
			if !strings.HasPrefix(c, "ip") && !strings.HasPrefix(c, "nft") {
				c = "nft" + c
			}
			w.host.run(c)
		}
		findings, err := w.driver(t).Findings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		told := false
		for _, f := range findings {
			told = told || f.Name == v.finding && f.Fix != ""
		}
		if !told {
			t.Errorf("%s is not told: %+v", name, findings)
		}
		w.host.run(v.undo)
	}
}

// Other settings of the agent are in force with the next look, for VMs that run.
func TestRulesAreRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	vm := w.boot(t, w.driver(t), w.link(1))
	w.client.serve("tcp", at(client4, 25))
	if !vm.misses("tcp", at(client4, 25)) {
		t.Error("the VM can send mail")
	}
	held := func() bool { return vm.reaches("tcp", at(client4, 80)) }
	w.client.serve("tcp", at(client4, 80))
	if !held() {
		t.Fatal("the VM doesn't reach the internet")
	}
	w.config.SMTP = true
	if links, err := w.driver(t).List(t.Context()); err != nil || len(links) != 1 {
		t.Fatalf("List = %v, %v, want the one link", links, err)
	}
	if !vm.reaches("tcp", at(client4, 25)) {
		t.Error("the VM can't send mail after its provider has allowed it")
	}
}

func TestManyCyclesLeaveNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	ensure(t, d, w.link(2, tcp(22)))
	before := w.snapshot()
	for range 200 {
		ensure(t, d, w.link(1, tcp(22), udp(53)))
		if err := d.Destroy(t.Context(), w.link(1).ID); err != nil {
			t.Fatal(err)
		}
	}
	if gone, come := differ(before, w.snapshot()); len(gone)+len(come) > 0 {
		t.Errorf("%q are gone, %q have come", gone, come)
	}
}
