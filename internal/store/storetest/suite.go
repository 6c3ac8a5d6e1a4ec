package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Run runs the suite; open returns a new store without rows.
func Run(t *testing.T, open func(tb testing.TB) *store.Store) {
	t.Helper()
	for _, part := range []struct {
		name  string
		tests map[string]func(*db)
	}{
		{"transactions", transactions},
		{"accounts", accounts},
		{"ledger", ledgers},
		{"market", markets},
		{"servers", servers},
		{"vms", vms},
		{"labels", labels},
		{"placements", placements},
		{"quotes", quotes},
		{"earnings", earnings},
		{"withdrawals", withdrawals},
		{"limits", limits},
		{"history", histories},
		{"billing", billing},
		{"usage", usages},
	} {
		for name, test := range part.tests {
			t.Run(part.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				test(&db{Store: open(t), t: t})
			})
		}
	}
}

// db is a store whose errors end the test.
type db struct {
	*store.Store
	t *testing.T
}

// now is a moment with microseconds, and in another zone than UTC.
var now = time.Date(2026, 3, 1, 12, 30, 45, 123456000, time.FixedZone("", 3600))

func (d *db) write(fn func(ctx context.Context, tx *store.Tx) error) {
	d.t.Helper()
	if err := d.try(fn); err != nil {
		d.t.Fatalf("Write: %v", err)
	}
}

// try is write for what may fail.
func (d *db) try(fn func(ctx context.Context, tx *store.Tx) error) error {
	d.t.Helper()
	return d.Write(d.t.Context(), func(tx *store.Tx) error { return fn(d.t.Context(), tx) })
}

func (d *db) read(fn func(ctx context.Context, tx *store.Tx) error) {
	d.t.Helper()
	if err := d.Read(d.t.Context(), func(tx *store.Tx) error { return fn(d.t.Context(), tx) }); err != nil {
		d.t.Fatalf("Read: %v", err)
	}
}

// refuses reports an error unless writing fails with a fault of that kind.
func (d *db) refuses(what string, kind fault.Kind, fn func(ctx context.Context, tx *store.Tx) error) {
	d.t.Helper()
	if err := d.try(fn); !fault.Is(err, kind) {
		d.t.Errorf("%s: got %v, want a fault of kind %s", what, err, kind)
	}
}

// look returns what get reads.
func look[T any](d *db, get func(ctx context.Context, tx *store.Tx) (T, error)) T {
	d.t.Helper()
	var got T
	d.read(func(ctx context.Context, tx *store.Tx) (err error) {
		got, err = get(ctx, tx)
		return err
	})
	return got
}

func (d *db) same(what string, got, want any) {
	d.t.Helper()
	if !reflect.DeepEqual(got, want) {
		d.t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// The things that the others hang on.
const (
	anna   = "acc_anna"
	bert   = "acc_bert"
	prov   = "prv_1"
	center = "dc_1"
	offer  = "off_1"
	server = "srv_1"
)

var (
	place    = market.Datacenter{ID: center, ProviderID: prov, Country: "US", City: "NYC", Index: 1, Tier: 3, Certifications: []string{"ISO 27001"}}
	prices   = market.Prices{VCPU: 1, RAM: 20, Storage: 300, Address: 4000}
	hardware = capacity.Hardware{
		CPU:    capacity.CPU{Manufacturer: "AMD", Brand: "EPYC", Architecture: "Zen", Generation: "4"},
		Memory: capacity.Memory{Type: "DDR", Generation: "5"}, Storage: capacity.Storage{Type: "NVMe"},
	}
	inventory = capacity.Inventory{
		Hardware: hardware, Total: capacity.Vector{VCPU: 8, RAMGiB: 16, StorageGiB: 100, Addresses: 4}, VCPUPerThread: 2,
		Pool: netip.MustParsePrefix("192.0.2.0/29"), Hypervisor: "qemu 8", Accelerator: "kvm",
	}
	full = store.Server{
		ID: server, Number: 1, Name: "rack-7", OfferID: offer, AgentKey: "key", Inventory: inventory, ListEpoch: 1, Revision: 1,
		Instances: []string{}, State: market.ServerOpen, SeenAt: now.UTC(), CreatedAt: now.UTC(),
	}
)

// furnish writes two accounts, a provider, a datacenter, an offer and a server.
func (d *db) furnish() {
	d.t.Helper()
	d.write(func(ctx context.Context, tx *store.Tx) error {
		return errors.Join(
			tx.InsertAccount(ctx, account.Account{ID: anna, Name: "Anna", CreatedAt: now}),
			tx.InsertAccount(ctx, account.Account{ID: bert, Name: "Bert", CreatedAt: now.Add(time.Second)}),
			tx.InsertProvider(ctx, prov, bert, "Nord", now),
			tx.InsertDatacenter(ctx, place),
			tx.InsertOffer(ctx, market.Offer{ID: offer, Name: "epyc", ProviderID: prov, Datacenter: place, Hardware: hardware, Prices: prices, MaxExtraStorage: 7}, now),
			tx.InsertServer(ctx, full),
		)
	})
}

// machine returns the nth VM, with every field set.
func machine(n int) vm.VM {
	ends := now.Add(time.Duration(n) * time.Hour).UTC()
	return vm.VM{
		ID: fmt.Sprintf("0x%040d", n), AccountID: anna, ServerID: server, OfferID: offer, ProviderID: prov, DatacenterID: center,
		Name: fmt.Sprint("vm-", n), Spec: vm.Spec{
			Hostname: "host", Image: "https://example.com/a.img", SSHKeys: []string{"ssh-ed25519 AAAA it's \"mine\" \\ ? $1"},
			Ports: []vm.Port{{Number: 22, Protocol: vm.TCP}, {Number: 53, Protocol: vm.UDP}}, VCPU: 2, RAMGiB: 4, StorageGiB: 25,
		},
		Goal: vm.Run, Generation: 3, Reached: 2, State: vm.Launching, Since: ends, Reason: "because ünïcode '?' \\", Deadline: ends.Add(1),
		Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), Price: money.Max, Parts: vm.Parts{money.Max - 6, 3, 2, 1}, Spent: 7, Epoch: 24 * time.Hour,
		CreatedAt: ends.Add(2 * time.Microsecond), ActivatedAt: ends.Add(3 * time.Microsecond),
		NextBilling: ends.Add(4 * time.Microsecond), EndedAt: ends.Add(5 * time.Microsecond), AffinityGroup: "db", KeyID: "key_9",
		Labels: vm.Labels{"env": "prod", "empty": ""},
		Full:   vm.Parts{money.Max - 6, 3, 2, 1}, Power: vm.On,
	}
}

// stored returns v with its times as the store keeps them.
func stored(v vm.VM) vm.VM {
	for _, at := range []*time.Time{&v.Since, &v.Deadline, &v.CreatedAt, &v.ActivatedAt, &v.NextBilling, &v.EndedAt, &v.KeptUntil} {
		if !at.IsZero() {
			*at = at.Truncate(time.Microsecond).UTC()
		}
	}
	return v
}

// together runs fn n times at once and returns the errors.
func together(n int, fn func(i int) error) []error {
	type result struct {
		i   int
		err error
	}
	start, results := make(chan struct{}), make(chan result)
	for i := range n {
		go func() {
			<-start
			results <- result{i, fn(i)}
		}()
	}
	close(start)
	errs := make([]error, n)
	for range n {
		r := <-results
		errs[r.i] = r.err
	}
	return errs
}

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }
