package api_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/api"
	"github.com/cpucloud/cpucloud/internal/archive/s3"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	ubuntu  = "https://cloud-images.ubuntu.com/releases/22.04/release/ubuntu-22.04-server-cloudimg-amd64.img"
	keyLine = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBwVyhJAwCHMVJxhLPUZOuyFZQKNdgGWqI2ahVZO9wQ2 me@laptop"
	unknown = "0x0000000000000000000000000000000000000001"
	start   = 100 // USDC on a customer's account
)

// cloud is a control plane over a database of its own, with one server in New
// York that has room for four of the smallest VMs, and an agent that does at
// once what it is told.
type cloud struct {
	disks    map[string][]int64 // that the agent has, by VM
	t        testing.TB
	control  *control.Service
	handler  http.Handler
	store    *store.Store
	agent    *agent
	operator string // an operator's key
	key      string // a customer's key
	account  string // the customer
}

func newCloud(tb testing.TB) *cloud {
	tb.Helper()
	return newCloudAt(tb, filepath.Join(tb.TempDir(), "cloud.db"))
}

// newCloudAt is newCloud over the database at a URL.
func newCloudAt(tb testing.TB, url string) *cloud {
	tb.Helper()
	db, err := store.Open(tb.Context(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	var ahead atomic.Int64
	now := func() time.Time {
		return time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC).Add(time.Duration(ahead.Load()))
	}
	log := slog.New(slog.DiscardHandler)
	c := &cloud{t: tb, store: db}
	exports, err := s3.ParseLocation("s3://exports?endpoint=https://store.test") // nobody asks it anything here
	if err != nil {
		tb.Fatal(err)
	}
	c.control, err = control.New(tb.Context(), control.Config{
		Store: db, Now: now, Rand: rand.Reader, Log: log, Epoch: 24 * time.Hour, Retention: 7 * 24 * time.Hour, KeepDeleted: 24 * time.Hour, Launch: time.Hour,
		Images: []control.Image{{
			ID: strings.Repeat("5f", 16), Name: "22.04 (LTS) x64", Distribution: "Ubuntu", Slug: "ubuntu-22-04-x64", URL: ubuntu, User: "ubuntu", Listed: now(),
		}},
		Archive: s3.New(s3.Config{Location: exports, Now: now}), ExportLimits: control.ExportLimits{Count: 2, Bytes: 10 << 30},
		Simulation: true, Gather: time.Millisecond,
		Advance: func(d time.Duration) { ahead.Add(int64(d)) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	c.handler = api.New(c.control, api.Config{Log: log, Version: "v-test"})
	_, c.operator = c.newAccount("operator", account.Operator)
	c.account, c.key = c.newAccount("Ada", account.Customer)
	if _, err := c.control.Credit(tb.Context(), control.System, c.account, gift(start*money.USDC)); err != nil {
		tb.Fatal(err)
	}
	c.agent = c.join("NYC")
	return c
}

// gift is a credit of an amount.
func gift(amount money.Amount) control.Credit {
	return control.Credit{Amount: amount, Note: "a gift"}
}

func (c *cloud) newAccount(name string, role account.Role) (accountID, key string) {
	c.t.Helper()
	a, key, err := c.control.CreateAccount(c.t.Context(), control.System, name, role)
	if err != nil {
		c.t.Fatal(err)
	}
	return a.ID, key
}

// agent stands for the agent of one server.
type agent struct {
	server    string
	inventory capacity.Inventory
	sequence  int64
}

var (
	hardware = capacity.Hardware{
		CPU:    capacity.CPU{Manufacturer: "AMD", Brand: "EPYC", Architecture: "Zen", Generation: "4"},
		Memory: capacity.Memory{Type: "DDR", Generation: "5"}, Storage: capacity.Storage{Type: "NVMe"},
	}
	// The smallest VM costs 2 × 0.2 + 4 × 0.06 + 25 × 0.004 + 0.1 = 0.84 an epoch.
	prices = market.Prices{VCPU: 200_000, RAM: 60_000, Storage: 4_000, Address: 100_000}
)

func (c *cloud) join(city string) *agent {
	c.t.Helper()
	token, err := c.control.Invite(c.t.Context(), control.System, control.Invitation{
		Provider:   "Example Hosting",
		Datacenter: market.Datacenter{Country: "US", City: city, Index: 1, Tier: 3, Certifications: []string{"ISO 27001"}},
		Prices:     prices, Valid: time.Hour,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	key, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	a := &agent{inventory: capacity.Inventory{
		Hardware: hardware, Total: capacity.Vector{VCPU: 8, RAMGiB: 16, StorageGiB: 400, Addresses: 6}, VCPUPerThread: 4,
		Pool: netip.MustParsePrefix("203.0.113.0/29"), Hypervisor: "fake", Accelerator: "tcg",
	}}
	if a.server, err = c.control.Enroll(c.t.Context(), token, key, a.inventory); err != nil {
		c.t.Fatal(err)
	}
	return a
}

// report lets the agent see all that it was asked to run in phase, and nothing
// of what it was asked to remove.
func (c *cloud) report(phase vm.Phase) {
	c.t.Helper()
	list, err := c.control.Orders(c.t.Context(), c.agent.server)
	if err != nil {
		c.t.Fatal(err)
	}
	c.agent.sequence++
	r := vm.Report{Sequence: c.agent.sequence, Inventory: c.agent.inventory}
	for _, o := range list.Orders {
		s := vm.Sighting{ID: o.ID, Generation: o.Generation, Phase: phase, Disk: o.Boots()}
		if c.disks == nil {
			c.disks = map[string][]int64{}
		}
		all := append(c.disks[o.ID], o.Disk, o.Boots())
		slices.Sort(all)
		c.disks[o.ID] = slices.DeleteFunc(slices.Compact(all), o.Purges)
		for _, n := range c.disks[o.ID] {
			s.Disks = append(s.Disks, vm.DiskSeen{Number: n})
		}
		if o.Goal == vm.Remove {
			s.Phase = vm.Absent
		}
		for _, a := range o.Snapshots {
			s.Snapshots = append(s.Snapshots, snapshotAs(a))
		}
		r.VMs = append(r.VMs, s)
	}
	if err := c.control.Observe(c.t.Context(), c.agent.server, r); err != nil {
		c.t.Fatal(err)
	}
}

// answer is what a request came back with.
type answer struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   string
}

// send sends a request with the customer's key; headers are "Name: value".
func (c *cloud) send(method, path, body string, headers ...string) answer {
	c.t.Helper()
	return c.sendAs(c.key, method, path, body, headers...)
}

func (c *cloud) sendAs(key, method, path, body string, headers ...string) answer {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	if key != "" {
		r.Header.Set("X-API-KEY", key)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	return answer{c.t, method + " " + path + " " + shorten(body), w.Code, w.Header(), w.Body.String()}
}

func shorten(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}

// wants ends the test unless the status is as wanted, and decodes the body into
// the value: strictly, so that a member of the wrong type is found.
func (a answer) wants(status int, into any) {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: got %d %s, want %d", a.what, a.status, a.body, status)
	}
	if into == nil {
		return
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		a.t.Errorf("%s: Content-Type is %q", a.what, got)
	}
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		a.t.Fatalf("%s: decode %s: %v", a.what, a.body, err)
	}
}

// refused reports an answer that isn't this status with {"error"} and a text
// that holds says.
func (a answer) refused(status int, says string) {
	a.t.Helper()
	var body struct{ Error string }
	err := json.Unmarshal([]byte(a.body), &body)
	if a.status != status || err != nil || body.Error == "" || !strings.Contains(body.Error, says) {
		a.t.Errorf("%s:\n got %d %s\nwant %d with an error that says %q", a.what, a.status, a.body, status, says)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		a.t.Errorf("%s: Content-Type of the error is %q", a.what, got)
	}
}

// deployBody returns the body of a plain deployment, changed by replacing old
// with new.
func deployBody(changes ...string) string {
	return strings.NewReplacer(changes...).Replace(`{"constraints": null, "instances": 1, "vmConfiguration": {"name": "web-1", "hostname": null,
		"openPorts": [{"port": 80, "protocol": "tcp"}], "osImage": "` + ubuntu + `", "sshKeys": ["` + keyLine + `"]}}`)
}

// deploy deploys n VMs and returns their ids.
func (c *cloud) deploy(n string) []string {
	c.t.Helper()
	var made []struct {
		ID   string `json:"vmId"`
		Name string `json:"vmName"`
	}
	c.send("POST", "/vms/v3", deployBody(`"instances": 1`, `"instances": `+n)).wants(http.StatusOK, &made)
	ids := []string{}
	for _, m := range made {
		ids = append(ids, m.ID)
	}
	return ids
}

// state is what a refused request must not change.
type state struct{ balance, vms, offers, keys string }

func (c *cloud) state() state {
	c.t.Helper()
	return state{
		c.send("GET", "/v1/account", "").body, c.send("GET", "/vms/v3", "").body,
		c.send("POST", "/marketplace/offers", "").body, c.send("GET", "/ssh_keys", "").body,
	}
}

// unchanged runs the subtests and reports whatever they changed.
func (c *cloud) unchanged(what string, do func()) {
	c.t.Helper()
	before := c.state()
	do()
	if after := c.state(); after != before {
		c.t.Errorf("%s changed something:\nbefore %v\nafter  %v", what, before, after)
	}
}

// snapshotAs is how an agent tells a snapshot that is as it is wanted.
func snapshotAs(a vm.SnapshotAsk) vm.SnapshotSeen {
	if a.Goal == vm.PurgeSnapshot {
		return vm.SnapshotSeen{ID: a.ID, State: vm.SnapshotGone}
	}
	return vm.SnapshotSeen{
		ID: a.ID, State: vm.SnapshotThere, At: time.Date(2026, 1, 31, 12, 0, 2, 0, time.UTC), Bytes: 3 << 30, VirtualBytes: 25 << 30,
		Checksum: "sha256:" + strings.Repeat("0d", 32), Consistency: "filesystem",
	}
}
