//go:build vm

package vmtest_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cpucloud/cpucloud/client"
)

// A provider's server whose VMs have public addresses: they are reached at their
// own ports by IPv4 and IPv6, reach the internet and nothing near their host, and
// go without a trace.
func TestRouted(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("making networks needs root")
	}
	m := newMarketplace(t)
	host := newNamespace(t, "host")
	near, far := m.net.wire(host, 1)
	m.net.run("ip", "address", "add", "80.0.0.80/32", "dev", "lo")
	m.net.run("ip", "address", "add", "169.254.169.254/32", "dev", "lo")
	m.net.run("ip", "route", "add", "45.0.0.64/28", "dev", near) // what is announced is found by asking
	m.net.run("ip", "address", "add", "2a00:1::1/64", "dev", near, "nodad")
	m.net.run("ip", "route", "add", "2a00:1:0:64::/64", "dev", near)
	host.run("ip", "address", "add", "2a00:1::2/64", "dev", far, "nodad")
	host.run("ip", "route", "add", "default", "via", "2a00:1::1")
	m.net.page("0.0.0.0:80", "the internet")
	host.page("0.0.0.0:80", "the host")
	m.provide(host, "Nord", "DE", "BER", "0.09", "--network", "routed", "--uplink", far, "--pool", "45.0.0.64/28", "--pool6", "2a00:1:0:64::/64")

	anna, bert := m.client(m.member("Anna")), m.client(m.member("Bert"))
	web, db := m.boot(anna, "web"), m.boot(bert, "db")
	if got := m.ask(m.net, web.Address(), "hostname"); got != "web" {
		t.Errorf("the host name at %s is %q", web.Address(), got)
	}
	if got := m.ask(m.net, "2a00:1:0:64::"+six(web.Address()), "hostname"); got != "web" {
		t.Errorf("the host name by IPv6 is %q", got)
	}
	m.testReach(host, web, db)
	m.testCutting(anna, web)

	for _, c := range []struct {
		*client.Client
		id string
	}{{anna, web.ID}, {bert, db.ID}} {
		if _, err := c.DeleteVM(t.Context(), c.id, true); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	left := func() string {
		all := host.output("nft", "list", "ruleset") + host.output("ip", "route", "show", "proto", "86") + host.output("ip", "-6", "route", "show", "proto", "86") +
			host.output("ip", "neigh", "show", "proxy") + host.output("ip", "-6", "neigh", "show", "proxy")
		for line := range strings.Lines(host.output("ip", "-oneline", "link")) {
			if strings.Contains(line, "cpuc-") {
				all += line
			}
		}
		return all
	}
	m.until("nothing of the VMs is left", func() bool { return left() == "" })
}

// six returns the last part of the IPv6 address of the VM with an address of
// 45.0.0.64/28: the same place in its pool.
func six(address string) string {
	return map[string]string{"45.0.0.65": "1", "45.0.0.66": "2"}[address]
}

func (n namespace) output(args ...string) string {
	n.Helper()
	out, err := n.command(args...).Output()
	if err != nil {
		n.Fatalf("%v: %v", args, err)
	}
	return string(out)
}

// boot deploys a VM and waits until it runs.
func (m *marketplace) boot(c *client.Client, name string) client.VM {
	m.Helper()
	made := m.deploy(c, name, 1)
	ctx, cancel := context.WithTimeout(m.Context(), joinWithin)
	defer cancel()
	v, err := c.WaitVM(ctx, made[0].ID, client.StatusActive)
	if err != nil || v.Status != client.StatusActive {
		m.Fatalf("VM %s is %s (%s), want it active: %v\n%v", name, v.Status, v.Reason, err, v.Timeline)
	}
	return v
}

// deploy deploys VMs as soon as there is a place for them: once the server has joined,
// and the VMs before them are gone.
func (m *marketplace) deploy(c *client.Client, name string, instances int) (made []client.Deployed) {
	m.Helper()
	m.until("a place for "+name, func() (placed bool) {
		var err error
		made, err = c.Deploy(m.Context(), client.Deployment{Instances: instances, VM: client.VMConfiguration{
			Name: name, OSImage: "https://" + control + "/images/" + demoImage, SSHKeys: []string{m.key.line},
		}})
		return err == nil
	})
	return made
}

// testReach tries from within a VM what it may reach.
func (m *marketplace) testReach(host namespace, web, db client.VM) {
	m.Helper()
	const page = `printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 3 `
	get := func(address string) string { return m.ask(m.net, web.Address(), page+address+" || echo no answer") }
	if got := get("80.0.0.80 80"); !strings.HasSuffix(got, "the internet") {
		m.Errorf("the VM gets %q from the internet", got)
	}
	for what, address := range map[string]string{
		"its host": "10.99.1.2 80", "its gateway": "169.254.1.1 80", "the provider's network": "10.99.1.1 80",
		"its neighbour's closed port": db.Address() + " 8080", "the metadata address": "169.254.169.254 80",
	} {
		if got := get(address); got != "no answer" {
			m.Errorf("the VM gets %.60q from %s", got, what)
		}
	}
	if got := m.ask(m.net, web.Address(), "nc -w 5 "+db.Address()+" 22 </dev/null | head -c 4"); got != "SSH-" {
		m.Errorf("the VM hears %q at its neighbour's open port", got)
	}
	if got := m.ask(host, db.Address(), page+"127.0.0.1 8080"); !strings.Contains(got, "<h1>db</h1>") {
		m.Errorf("nothing is at the port that nobody reaches: %q", got)
	}
}

// testCutting opens and closes ports below a session that stays until it is cut.
func (m *marketplace) testCutting(c *client.Client, v client.VM) {
	m.Helper()
	guest, err := m.login(m.net, v.Address())
	if err != nil {
		m.Fatalf("log in: %v", err)
	}
	defer guest.Close() //nolint:errcheck // it has been cut
	update := func(cut bool, port int) {
		m.Helper()
		_, err := c.SetPorts(m.Context(), v.ID, client.PortChange{Ports: []client.Port{{Port: port, Protocol: "tcp"}}, Cut: cut})
		if err != nil {
			m.Fatalf("update: %v", err)
		}
	}
	internet := &http.Client{Timeout: time.Second, Transport: &http.Transport{DialContext: m.net.dial}}
	update(false, 8080)
	m.until("the page is served", func() bool {
		r, err := internet.Get("http://" + v.Address() + ":8080")
		if err != nil {
			return false
		}
		defer r.Body.Close() //nolint:errcheck // only read from
		text, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		return err == nil && strings.Contains(string(text), "<h1>web</h1>")
	})
	if !lives(guest) {
		m.Error("a session was cut that nobody wanted to be cut")
	}
	update(true, 8080)
	m.until("the session is cut", func() bool { return !lives(guest) })
}

// lives reports whether a session's other end still answers.
func lives(guest *ssh.Client) bool {
	answered := make(chan error, 1)
	go func() {
		_, _, err := guest.SendRequest("keepalive@openssh.com", true, nil)
		answered <- err
	}()
	select {
	case err := <-answered:
		return err == nil
	case <-time.After(2 * time.Second):
		return false
	}
}
