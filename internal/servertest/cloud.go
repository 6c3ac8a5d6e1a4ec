// Package servertest is a whole cloud for tests: a real control plane and real
// agents that speak over real sockets, and fetch and check real images. Only the
// hardware under the agents exists in memory alone, so that VMs take no time.
package servertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/server"
)

// now is the clock of everything in a test but that of a cloud with TestClock,
// which is ahead of it.
var now = time.Now //nolint:forbidigo // sockets and processes know no other time

// KeepDisks is how long the disks are kept that VMs had before.
const KeepDisks = 24 * time.Hour

// Options of a Cloud; the zero value is a good one.
type Options struct {
	TestClock   bool          // let the operator move the billing clock forward
	KeepDeleted time.Duration // how long deleted VMs are kept, and disks that VMs have no more
}

// Cloud is a control plane and the agents that joined it. It ends with its test.
type Cloud struct {
	Dir      string         // holds the database, the images, and a folder for each agent
	URL      string         // the same over restarts
	Operator *client.Client // may do what operators may

	tb      testing.TB
	log     *slog.Logger
	config  server.Config
	server  *server.Server // nil while it is stopped
	agents  int
	members int
	ahead   time.Duration // by which the clock was moved
	begun   time.Duration // by which it had been when the control plane was started, which does not remember
}

// addresses counts the addresses that clouds of this process listen on.
var addresses atomic.Uint32

// listenAddress returns a loopback address that is nobody else's, so that no
// other test takes its port while a control plane is down.
func listenAddress() string {
	pid, n := os.Getpid(), addresses.Add(1)
	return fmt.Sprintf("127.%d.%d.%d:0", 128+pid>>8&63, pid&255, n)
}

// Start starts a control plane without servers.
func Start(tb testing.TB, o Options) *Cloud {
	tb.Helper()
	c := &Cloud{Dir: tb.TempDir(), tb: tb, log: slog.New(slog.NewTextHandler(tb.Output(), nil))}
	if err := os.Mkdir(filepath.Join(c.Dir, "images"), 0o700); err != nil {
		tb.Fatal(err)
	}
	c.config = ServerConfig(c.Dir, listenAddress(), c.log)
	c.config.TestClock, c.config.KeepDeleted, c.config.KeepDisks = o.TestClock, o.KeepDeleted, o.KeepDeleted
	if o.TestClock {
		c.config.Now = func() time.Time { return now().Add(c.begun) }
	}
	c.StartServer()
	tb.Cleanup(c.StopServer)
	c.config.Listen, c.URL = c.server.URL[len("http://"):], c.server.URL
	_, key, err := c.server.Control.CreateAccount(tb.Context(), control.System, "operator", account.Operator)
	if err != nil {
		tb.Fatal(err)
	}
	c.Operator = client.New(c.URL, key)
	return c
}

// ServerConfig returns what a control plane over the folder of a Cloud needs, in
// this process or in one of its own.
func ServerConfig(dir, listen string, log *slog.Logger) server.Config {
	return server.Config{
		Listen: listen, Database: filepath.Join(dir, "cloud.db"), Images: filepath.Join(dir, "images"), Version: "test",
		Epoch: 24 * time.Hour, Retention: 7 * 24 * time.Hour, KeepDisks: KeepDisks, Now: now, Rand: rand.Reader, Log: log,
	}
}

// StartServer starts the control plane again after StopServer.
func (c *Cloud) StartServer() {
	c.tb.Helper()
	c.begun = c.ahead
	s, err := server.Start(c.tb.Context(), c.config)
	if err != nil {
		c.tb.Fatalf("start control plane: %v", err)
	}
	c.server = s
}

// Advance moves the billing clock of a cloud with a TestClock forward, which stays so
// over restarts.
func (c *Cloud) Advance(d time.Duration) {
	c.tb.Helper()
	if _, err := c.Operator.AdvanceClock(c.tb.Context(), d); err != nil {
		c.tb.Fatalf("move clock: %v", err)
	}
	c.ahead += d
}

// StopServer stops the control plane; its database and its agents stay.
func (c *Cloud) StopServer() {
	c.tb.Helper()
	if c.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.tb.Context()), 10*time.Second)
	defer cancel()
	if err := c.server.Stop(ctx); err != nil {
		c.tb.Errorf("stop control plane: %v", err)
	}
	c.server = nil
}

// Customer makes a customer with that balance in USDC and one SSH key, "laptop".
func (c *Cloud) Customer(balance client.Amount, options ...client.Option) *client.Client {
	c.tb.Helper()
	c.members++
	made, err := c.Operator.CreateAccount(c.tb.Context(), fmt.Sprintf("customer %d", c.members), "customer")
	if err != nil {
		c.tb.Fatalf("make customer: %v", err)
	}
	if _, err := c.Operator.SetBalance(c.tb.Context(), made.ID, balance, "to begin with"); err != nil {
		c.tb.Fatalf("set balance: %v", err)
	}
	customer := client.New(c.URL, made.APIKey, options...)
	if _, err := customer.AddSSHKey(c.tb.Context(), "laptop", publicKey); err != nil {
		c.tb.Fatalf("add SSH key: %v", err)
	}
	return customer
}

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx1bmdmaXNobHVuZ2Zpc2hsdW5nZmlzaGx1bmdmaXNo laptop"

// Await waits until cond holds, for half a minute at most.
func (c *Cloud) Await(what string, cond func() bool) {
	c.tb.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			c.tb.Fatalf("not within half a minute: %s", what)
		case <-c.tb.Context().Done():
			c.tb.Fatalf("the test ended before: %s", what)
		}
	}
}
