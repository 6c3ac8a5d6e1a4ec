//go:build vm

package vmtest_test

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/worldtest"
)

// A provider's way with a server on which systemd runs, as docs/operating/provider.md
// goes it: look, join, sell, take a new version, drain, and retire. VMs run in scopes
// and notice nothing of the agent's service.
func TestServerWithSystemd(t *testing.T) { //nolint:paralleltest // see TestLife
	if !worldtest.Systemd(t, worldtest.Legacy) {
		return
	}
	m := newMarketplace(t)
	host := namespace{T: t}
	host.run("ip", "link", "set", "lo", "up")
	host.run("mount", "--bind", "/run/units", "/etc/systemd/system") // the world's systemd reads no other
	near, far := m.net.wire(host, 1)
	m.net.run("ip", "route", "add", "45.0.0.64/28", "dev", near)
	program := m.file("cpucloud")
	install := func() {
		t.Helper()
		copyFile(t, m.program(), program+".new")
		if err := os.Rename(program+".new", program); err != nil {
			t.Fatal(err)
		}
	}
	install()

	nord := m.list("Nord", "DE", "BER", "0.09")
	token := m.cli(nord, "", "provider", "token", "--name", "rack-1")
	flags := []string{
		"--server", "https://" + control, "--ca-file", m.file("cert.pem"), "--data", m.file("data"), "--vcpu", "8", "--ram", "16", "--storage", "200",
		"--network", "routed", "--uplink", far, "--pool", "45.0.0.64/28", "--benchmark", "off",
	}
	if said := host.say(program, append([]string{"agent", "doctor"}, flags...)); !strings.Contains(said, "scopes of systemd") {
		t.Errorf("the doctor says nothing of scopes:\n%s", said)
	}
	said := host.say(program, append([]string{"agent", "join"}, flags...), "CPUCLOUD_JOIN_TOKEN="+token)
	if !strings.Contains(said, "The agent runs as the service cpucloud-agent") {
		t.Fatalf("no service was made:\n%s", said)
	}
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := exec.Command("systemctl", "status", "--full", "cpucloud-agent").CombinedOutput()
			t.Logf("%s", text)
		}
	})

	anna := m.client(m.member("Anna"))
	v := m.boot(anna, "web")
	if got := m.ask(m.net, v.Address(), "hostname"); got != "web" {
		t.Errorf("the host name at %s is %q", v.Address(), got)
	}
	machines := (&cloud{T: t}).qemus()
	if scopes := units(t, "cpucloud-*.scope"); len(scopes) != 1 || !strings.Contains(scopes[0], "CPU Cloud VM "+v.ID) {
		t.Errorf("scopes %q, want that of VM %s", scopes, v.ID)
	}

	install() // the new version
	host.run("systemctl", "restart", "cpucloud-agent")
	if err := anna.UpdateVMs(t.Context(), client.Update{ID: v.ID, Ports: []client.Port{{Port: 22, Protocol: "tcp"}, {Port: 8080, Protocol: "tcp"}}}); err != nil {
		t.Fatal(err)
	}
	m.until("the new agent opens a port", func() bool {
		conn, err := m.net.dial(t.Context(), "tcp", v.Address()+":8080")
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	if now := (&cloud{T: t}).qemus(); !maps.EqualFunc(now, machines, func(a, b []string) bool { return strings.Join(a, " ") == strings.Join(b, " ") }) {
		t.Errorf("machines %v run below the new agent, want %v", now, machines)
	}

	m.testRoutedCycles(anna, host)

	m.cli(nord, "", "provider", "server", "drain", "rack-1", "--deadline", "2h", "--reason", "the rack moves")
	if v, err := anna.VM(t.Context(), v.ID); err != nil || v.DrainedAt == nil {
		t.Errorf("the customer is told of no end: %v, %v", v.DrainedAt, err)
	}
	if _, err := anna.DeleteVM(t.Context(), v.ID, true); err != nil {
		t.Fatal(err)
	}
	m.until("nothing of the VM is left", func() bool {
		return len(units(t, "cpucloud-*.scope")) == 0 && !strings.Contains(host.output("ip", "-oneline", "link"), "cpuc-")
	})
	m.cli(nord, "", "provider", "server", "remove", "rack-1", "--yes")
	host.run("systemctl", "disable", "--now", "cpucloud-agent")
	if left := units(t, "cpucloud-*"); len(left) != 0 {
		t.Errorf("units %q are left", left)
	}
}

// testRoutedCycles has thirty VMs come and go, three at a time, beside one that stays:
// no tap, rule, route, scope, process or file of theirs is left.
func (m *marketplace) testRoutedCycles(c *client.Client, host namespace) {
	m.Helper()
	before := m.traces(host)
	for round := range 10 {
		made := m.deploy(c, fmt.Sprint("round-", round), 3)
		m.until("the machines run", func() bool { return len(units(m.T, "cpucloud-*.scope")) == 4 })
		for _, v := range made {
			if _, err := c.DeleteVM(m.Context(), v.ID, true); err != nil {
				m.Fatal(err)
			}
		}
		m.until("the machines are gone", func() bool { return len(units(m.T, "cpucloud-*.scope")) == 1 })
	}
	var after []string
	m.until("all is as before", func() bool {
		after = m.traces(host)
		return slices.Equal(after, before)
	})
}

// counted is what of nft's rules and ip's routes changes while nothing changes.
var counted = regexp.MustCompile(`counter packets \d+ bytes \d+`)

// traces names what VMs have on a server: in the kernel, below systemd, and in the
// agent's folder.
func (m *marketplace) traces(host namespace) []string {
	m.Helper()
	var all []string
	for _, command := range []string{
		"nft list ruleset", "ip -oneline link", "ip route show proto 86", "ip neigh show proxy", "ip neigh show nud permanent",
		"systemctl list-units --all --plain --no-legend cpucloud-*", "find " + m.file("data", "agent", "vms") + " " + m.file("data", "host", "qemu") +
			" " + m.file("data", "host", "routed"), "pgrep --list-name qemu-system",
	} {
		for line := range strings.Lines(counted.ReplaceAllString(host.output(strings.Fields(command)...), "")) {
			all = append(all, line)
		}
	}
	return all
}

// say runs a program inside, to its end, and returns all that it says.
func (n namespace) say(program string, args []string, env ...string) string {
	n.Helper()
	cmd := n.command(append([]string{program}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// units returns systemd's lines of the units that match.
func units(t *testing.T, pattern string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "systemctl", "list-units", "--all", "--plain", "--no-legend", pattern).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl: %v: %s", err, out)
	}
	return slices.Collect(strings.Lines(string(out)))
}

// copyFile copies a program.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()                                                       //nolint:errcheck // it was only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755) //nolint:gosec // a program
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if closed := out.Close(); err != nil || closed != nil {
		t.Fatal(err, closed)
	}
}
