//go:build vm

package vmtest_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/network/netns"
)

// namespace is a network of its own, like that of another machine.
type namespace struct {
	*testing.T
	name string // "" for the network that the test runs in
}

// newNamespace makes a network with nothing but loopback; it ends with the test.
func newNamespace(t *testing.T, name string) namespace {
	t.Helper()
	n := namespace{t, fmt.Sprintf("cpucloud-%d-%s-%s", os.Getpid(), t.Name(), name)}
	n.host("ip", "netns", "add", n.name)
	t.Cleanup(func() { n.host("ip", "netns", "delete", n.name) })
	n.run("ip", "link", "set", "lo", "up")
	return n
}

// host runs a command outside.
func (n namespace) host(args ...string) {
	n.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		n.Fatalf("%v: %v: %s", args, err, out)
	}
}

// command returns a command that runs inside.
func (n namespace) command(args ...string) *exec.Cmd {
	if n.name != "" {
		args = append([]string{"ip", "netns", "exec", n.name}, args...)
	}
	return exec.Command(args[0], args[1:]...)
}

func (n namespace) run(args ...string) {
	n.Helper()
	if out, err := n.command(args...).CombinedOutput(); err != nil {
		n.Fatalf("%v: %v: %s", args, err, out)
	}
}

// in runs fn inside, see [netns.Namespace.Do].
func (n namespace) in(fn func() error) error {
	if n.name == "" {
		return fn()
	}
	inside, err := netns.Open("/run/netns/" + n.name)
	if err != nil {
		return err
	}
	defer inside.Close() //nolint:errcheck // it was only read
	return inside.Do(fn)
}

// dial opens a connection from inside.
func (n namespace) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.in(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// page serves a text at an address inside, over HTTP, until the test ends.
func (n namespace) page(address, text string) {
	n.Helper()
	var ln net.Listener
	err := n.in(func() (err error) {
		ln, err = (&net.ListenConfig{}).Listen(n.Context(), "tcp", address)
		return err
	})
	if err != nil {
		n.Fatalf("listen at %s: %v", address, err)
	}
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }),
	}
	go func() { _ = server.Serve(ln) }() // until it is closed
	n.Cleanup(func() { _ = server.Close() })
}

// wire joins two namespaces by a cable, n having address 1 of 10.99.NUMBER.0/24
// and the other one address 2, and returns the names of its ends.
func (n namespace) wire(other namespace, number int) (near, far string) {
	n.Helper()
	near, far = fmt.Sprintf("cc%d-%da", os.Getpid()%10000, number), fmt.Sprintf("cc%d-%db", os.Getpid()%10000, number)
	n.host("ip", "link", "add", near, "netns", n.name, "type", "veth", "peer", "name", far, "netns", cmp.Or(other.name, strconv.Itoa(os.Getpid())))
	for _, end := range []struct {
		namespace
		link string
		host int
	}{{n, near, 1}, {other, far, 2}} {
		end.run("ip", "address", "add", fmt.Sprintf("10.99.%d.%d/24", number, end.host), "dev", end.link)
		end.run("ip", "link", "set", end.link, "up")
	}
	other.run("ip", "route", "add", "default", "via", fmt.Sprintf("10.99.%d.1", number))
	return near, far
}

// dialOutOnly drops all that begins outside.
func (n namespace) dialOutOnly() {
	n.Helper()
	n.run("nft", "add", "table", "inet", "machine")
	n.run("nft", "add", "chain", "inet", "machine", "input", "{ type filter hook input priority 0; policy drop; }")
	n.run("nft", "add", "rule", "inet", "machine", "input", "iif", "lo", "accept")
	n.run("nft", "add", "rule", "inet", "machine", "input", "ct", "state", "established,related", "accept")
}
