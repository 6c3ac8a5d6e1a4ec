package control_test

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/archive/s3"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	epoch  = 24 * time.Hour
	launch = 10 * time.Minute

	retention = 7 * epoch
	keepDisks = epoch

	rescueImage = "https://example.com/rescue.qcow2"

	// What a VM of 2 vCPU, 4 GiB and 25 GiB costs per epoch at these prices.
	price = 2*11 + 4*230 + 25*1_700 + 1*90_000 + 0*money.USDC
)

var (
	start    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	prices   = market.Prices{VCPU: 11, RAM: 230, Storage: 1_700, Address: 90_000}
	small    = market.Configurations()[0]
	operator = control.System
	place    = market.Datacenter{Country: "US", City: "NYC", Index: 1, Tier: 3}
	hardware = capacity.Hardware{
		CPU:    capacity.CPU{Manufacturer: "AMD", Brand: "EPYC", Architecture: "Zen", Generation: "4"},
		Memory: capacity.Memory{Type: "DDR", Generation: "5"}, Storage: capacity.Storage{Type: "NVMe"},
	}
)

const sshKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx1bmdmaXNobHVuZ2Zpc2hsdW5nZmlzaGx1bmdmaXNo anna@laptop"

// tb is what a test and a run of a property have in common.
type tb interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// cloud is a control plane at a clock that the test moves.
type cloud struct {
	*control.Service
	t      tb
	db     *store.Store
	clock  *clock
	random io.Reader

	// From the next restart on.
	simulation bool
	log        io.Writer // nil for nobody
	grace      time.Duration
	rest       time.Duration // of addresses
	keep       time.Duration // of deleted VMs
	length     time.Duration // of an epoch; 0 for a day
	fee        ledger.Fee
	limits     payment.Limits
	sources    []control.PaymentSource
	archive    *s3.Store
	exports    control.ExportLimits
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newCloud(t tb, db *store.Store) *cloud {
	t.Helper()
	c := &cloud{t: t, db: db, clock: &clock{now: start}, random: rand.Reader}
	c.restart()
	return c
}

// each runs a test against a control plane on every engine.
func each(t *testing.T, fn func(t *testing.T, c *cloud)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) { fn(t, newCloud(t, e.Open(t))) })
}

// restart puts a new Service in the place of the old one, as after a crash.
func (c *cloud) restart() {
	c.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if c.log != nil {
		log = slog.New(slog.NewTextHandler(c.log, nil))
	}
	s, err := control.New(c.t.Context(), control.Config{
		Store: c.db, Now: c.clock.Now, Rand: c.random, Log: log,
		Epoch: cmp.Or(c.length, epoch), Grace: c.grace, AddressRest: c.rest, KeepDeleted: c.keep, KeepDisks: keepDisks, RescueImage: rescueImage, Retention: retention, Fee: c.fee, Limits: c.limits, Sources: c.sources, Launch: launch, Advance: c.clock.advance,
		Archive: c.archive, ExportLimits: c.exports,
		Simulation: c.simulation, SimulatedBoot: time.Second, Gather: time.Millisecond,
	})
	if err != nil {
		c.t.Fatalf("New: %v", err)
	}
	c.Service = s
}

// account makes a customer with that balance.
func (c *cloud) account(name string, balance money.Amount) account.Actor {
	c.t.Helper()
	a, secret, err := c.CreateAccount(c.t.Context(), operator, name, account.Customer)
	c.must("CreateAccount", err)
	who, err := c.Authenticate(c.t.Context(), secret)
	c.must("Authenticate", err)
	_, err = c.SetBalance(c.t.Context(), operator, a.ID, balance, "to begin with")
	c.must("SetBalance", err)
	return who
}

func (c *cloud) must(what string, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}

func (c *cloud) free(who account.Actor) money.Amount {
	c.t.Helper()
	b, err := c.Balance(c.t.Context(), who, who.AccountID)
	c.must("Balance", err)
	return b.Free
}

// stored returns a VM as it is kept, deleted or not.
func (c *cloud) stored(vmID string) (v vm.VM) {
	c.t.Helper()
	c.must("read VM", c.db.Read(c.t.Context(), func(tx *store.Tx) (err error) {
		v, err = tx.VM(c.t.Context(), vmID)
		return err
	}))
	return v
}

// income returns what a provider was paid and did not return.
func (c *cloud) income(providerID string) money.Amount {
	return c.holds(ledger.Pending(providerID)) + c.holds(ledger.Earned(providerID))
}

func (c *cloud) holds(a ledger.Account) (amount money.Amount) {
	c.t.Helper()
	c.must("read balance", c.db.Read(c.t.Context(), func(tx *store.Tx) (err error) {
		amount, err = tx.Balance(c.t.Context(), a)
		return err
	}))
	return amount
}

// used returns what is taken of all servers.
func (c *cloud) used() (sum capacity.Vector) {
	c.t.Helper()
	c.must("read servers", c.db.Read(c.t.Context(), func(tx *store.Tx) error {
		changes, err := tx.MarketChanges(c.t.Context(), 0)
		for _, s := range changes.Servers {
			sum = sum.Add(s.Used)
		}
		return err
	}))
	return sum
}

// audit checks that every balance is the sum of its entries, and each entry
// sealed behind those before it.
func (c *cloud) audit() {
	c.t.Helper()
	c.must("audit", c.db.Read(c.t.Context(), func(tx *store.Tx) error {
		books, err := tx.Books(c.t.Context())
		if err != nil {
			return err
		}
		return books.Err()
	}))
}

// wish is a request for n small VMs.
func wish(n int64) control.Deployment {
	return control.Deployment{
		Constraints: market.Constraints{Configuration: small.Slug()},
		Instances:   n, Name: "web", Image: "https://example.com/debian.qcow2", SSHKeys: []string{sshKey},
	}
}

// deploy deploys one small VM and returns its id.
func (c *cloud) deploy(who account.Actor) string {
	c.t.Helper()
	made, err := c.Deploy(c.t.Context(), who, wish(1))
	c.must("Deploy", err)
	return made[0].ID
}

// remove deletes VMs.
func (c *cloud) remove(who account.Actor, ids ...string) {
	c.t.Helper()
	_, err := c.DeleteVMs(c.t.Context(), who, ids)
	c.must("DeleteVMs", err)
}

// agent is a server whose VMs do as the test says.
type agent struct {
	c        *cloud
	id       string
	key      ed25519.PublicKey
	inv      capacity.Inventory
	sequence int64
}

// room returns the capacity for n small VMs.
func room(n int64) capacity.Vector {
	d := small.Demand(0)
	return capacity.Vector{VCPU: n * d.VCPU, RAMGiB: n * d.RAMGiB, StorageGiB: n * d.StorageGiB, Addresses: n}
}

func inventory(total capacity.Vector) capacity.Inventory {
	return capacity.Inventory{
		Hardware: hardware, Total: total, VCPUPerThread: 1, Pool: netip.MustParsePrefix("10.1.0.0/16"), Hypervisor: "fake 1", Accelerator: "kvm",
	}
}

func (c *cloud) invite(in control.Invitation) string {
	c.t.Helper()
	token, err := c.Invite(c.t.Context(), operator, in)
	c.must("Invite", err)
	return token
}

func invitation() control.Invitation {
	return control.Invitation{Provider: "Nord", Datacenter: place, Prices: prices, Valid: time.Hour}
}

// join adds a server.
func (c *cloud) join(total capacity.Vector) *agent {
	c.t.Helper()
	return c.joinUnder(invitation(), total)
}

func (a *agent) orders() []vm.Order {
	a.c.t.Helper()
	list, err := a.c.Orders(a.c.t.Context(), a.id)
	a.c.must("Orders", err)
	return list.Orders
}

// sees reports sightings.
func (a *agent) sees(list ...vm.Sighting) error {
	a.sequence++
	return a.c.Observe(a.c.t.Context(), a.id, vm.Report{Sequence: a.sequence, Inventory: a.inv, VMs: list})
}

// reports tells that the VMs have come to a phase.
func (a *agent) reports(phase vm.Phase, ids ...string) {
	a.c.t.Helper()
	list := make([]vm.Sighting, len(ids))
	for i, vmID := range ids {
		list[i] = vm.Sighting{ID: vmID, Generation: a.c.stored(vmID).Generation, Phase: phase, Reason: "so it is"}
	}
	a.c.must("Observe", a.sees(list...))
}

func want(t tb, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

func wantFault(t tb, what string, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("%s: got %v, want a fault of kind %s", what, err, kind)
	}
}

// money of a VM in one line.
func purse(v vm.VM) string {
	return fmt.Sprintf("%s: reserved %s, spent %s", v.State, v.Reserved, v.Spent)
}

func sum(state vm.State, reserved, spent money.Amount) string {
	return purse(vm.VM{State: state, Reserved: reserved, Spent: spent})
}

// together runs fn n times at once and returns the errors.
func together(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-begin
			errs[i] = fn(i)
		})
	}
	close(begin)
	wg.Wait()
	return errs
}

// tally counts errors by their kind; "" is success.
func tally(errs []error) map[fault.Kind]int {
	out := map[fault.Kind]int{}
	for _, err := range errs {
		out[fault.KindOf(err)]++
	}
	return out
}

// joinUnder adds a server under terms of its own.
func (c *cloud) joinUnder(in control.Invitation, total capacity.Vector) *agent {
	c.t.Helper()
	key, _, err := ed25519.GenerateKey(rand.Reader)
	c.must("GenerateKey", err)
	a := &agent{c: c, key: key, inv: inventory(total)}
	a.id, err = c.Enroll(c.t.Context(), c.invite(in), key, a.inv)
	c.must("Enroll", err)
	return a
}

// clear frees what deleted VMs still hold, as their agents do.
func (c *cloud) clear(ids []string) {
	c.t.Helper()
	for _, vmID := range ids {
		v := c.stored(vmID)
		var sequence int64
		var inv capacity.Inventory
		c.must("read server", c.db.Read(c.t.Context(), func(tx *store.Tx) error {
			s, err := tx.Server(c.t.Context(), v.ServerID)
			sequence, inv = s.ReportSequence, s.Inventory
			return err
		}))
		c.must("Observe", c.Observe(c.t.Context(), v.ServerID, vm.Report{Sequence: sequence + 1, Inventory: inv, VMs: []vm.Sighting{
			{ID: v.ID, Generation: v.Generation, Phase: vm.Absent},
		}}))
	}
}

// property checks a property: thoroughly on SQLite, which is quick, and a few
// times on others.
func property(t *testing.T, e storetest.Engine, prop func(t *rapid.T)) {
	t.Helper()
	if quick && e.Name == storetest.SQLite().Name {
		rapid.Check(t, prop)
		return
	}
	few := rapid.MakeFuzz(prop)
	for range 5 {
		choices := make([]byte, 64<<10)
		_, _ = rand.Read(choices) // it never fails
		few(t, choices)
	}
}
