package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	spread         = time.Second    // within which all VMs fall due
	vmsPerCustomer = 10             // of which those in turn are of different customers
	vmsPerServer   = 250            // of half its room
	atOnce         = 5_000          // VMs written in one transaction
	mostProviders  = 1_000          // whose VMs are those in turn, too
	wealth         = 1 << 40        // micro-USDC of each customer, enough for all epochs
	leastPrice     = 60_000         // micro-USDC per epoch
	prices         = 200_000        // different ones
	keyBytes       = 68             // of a customer's SSH key in base64
	address        = 10<<24 + 1<<10 // the first of each server
)

// estate is the VMs of a cloud, always the same for one size and time.
type estate struct {
	vms       int
	activated time.Time // the first VM
	chance    io.Reader

	customers   []string
	providers   []string
	datacenters []string
	offers      []string
	servers     []string // those of a provider one behind the other
	perProvider int      // servers
}

// newEstate returns an estate whose VMs begin their second epoch at a time and
// in the second behind it.
func newEstate(vms int, due time.Time) *estate {
	providers := min(max(vms/1_000, 1), mostProviders)
	e := &estate{vms: vms, activated: due.Add(-epoch), chance: rand.NewChaCha8([32]byte{7})}
	e.perProvider = (vms/providers + vmsPerServer) / vmsPerServer
	e.customers = make([]string, max(vms/vmsPerCustomer, 1))
	e.providers, e.datacenters, e.offers = make([]string, providers), make([]string, providers), make([]string, providers)
	e.servers = make([]string, providers*e.perProvider)
	return e
}

func (e *estate) build(ctx context.Context, db *store.Store) error {
	for prefix, ids := range map[string][]string{"acc": e.customers, "prv": e.providers, "dc": e.datacenters, "off": e.offers, "srv": e.servers} {
		for i := range ids {
			var err error
			// they came one after another, and ids keep that order
			if ids[i], err = id.New(prefix, e.activated.Add(time.Duration(i-len(ids))*time.Millisecond), e.chance); err != nil {
				return err
			}
		}
	}
	if err := db.Write(ctx, func(tx *store.Tx) error { return e.sellers(ctx, tx) }); err != nil {
		return fmt.Errorf("add servers: %w", err)
	}
	for from := 0; from < len(e.customers); from += atOnce {
		if err := db.Write(ctx, func(tx *store.Tx) error { return e.pay(ctx, tx, from, min(from+atOnce, len(e.customers))) }); err != nil {
			return fmt.Errorf("add customers: %w", err)
		}
	}
	for from := 0; from < e.vms; from += atOnce {
		if err := db.Write(ctx, func(tx *store.Tx) error { return e.let(ctx, tx, from, min(from+atOnce, e.vms)) }); err != nil {
			return fmt.Errorf("add VMs: %w", err)
		}
	}
	return nil
}

// sellers adds providers with their servers.
func (e *estate) sellers(ctx context.Context, tx *store.Tx) error {
	if err := tx.InsertAccount(ctx, account.Account{ID: "sellers", Name: "sellers", CreatedAt: e.activated}); err != nil {
		return err
	}
	hardware := capacity.Hardware{CPU: capacity.CPU{Manufacturer: "AMD", Brand: "EPYC", Architecture: "Genoa", Generation: "4"}}
	var list []store.Server
	for p, provider := range e.providers {
		place := market.Datacenter{ID: e.datacenters[p], ProviderID: provider, Country: "DE", City: "BER", Index: int64(p) + 1, Tier: 3}
		offer := market.Offer{ID: e.offers[p], Name: "standard", ProviderID: provider, Datacenter: place, Prices: market.Prices{VCPU: 20_000, RAM: 10_000, Storage: 200}}
		if err := tx.InsertProvider(ctx, provider, "sellers", fmt.Sprintf("seller-%d", p), e.activated); err != nil {
			return err
		}
		if err := tx.InsertDatacenter(ctx, place); err != nil {
			return err
		}
		if err := tx.InsertOffer(ctx, offer, e.activated); err != nil {
			return err
		}
		for k := range e.perProvider {
			name := e.servers[p*e.perProvider+k]
			list = append(list, store.Server{
				ID: name, Name: fmt.Sprintf("s%d", k), OfferID: offer.ID, AgentKey: name, Simulated: true, SeenAt: e.activated, CreatedAt: e.activated,
				Inventory: capacity.Inventory{
					Hardware: hardware, Total: capacity.Vector{VCPU: 1_000, RAMGiB: 2_000, StorageGiB: 12_500, Addresses: 500}, VCPUPerThread: 1,
					Pool: netip.MustParsePrefix("10.0.0.0/16"), Hypervisor: "none", Accelerator: "none",
				},
			})
		}
	}
	return tx.InsertServers(ctx, list)
}

// pay adds customers with their money.
func (e *estate) pay(ctx context.Context, tx *store.Tx, from, to int) error {
	var entries []ledger.Entry
	for _, c := range e.customers[from:to] {
		if err := tx.InsertAccount(ctx, account.Account{ID: c, Name: c, CreatedAt: e.activated}); err != nil {
			return err
		}
		entries = append(entries, ledger.Credit(e.activated, c, wealth, "credit by the operator", c))
	}
	return tx.PostAll(ctx, entries)
}

// let adds VMs that were deployed and are Active.
func (e *estate) let(ctx context.Context, tx *store.Tx, from, to int) error {
	var o store.Orders
	takings := map[string]*store.Taking{}
	var order []string
	for i := from; i < to; i++ {
		v, err := e.vm(i)
		if err != nil {
			return err
		}
		hold, err := ledger.Reservation(v.CreatedAt, v.AccountID, v.ID, v.Price)
		if err != nil {
			return err
		}
		o.VMs = append(o.VMs, v)
		o.Entries = append(o.Entries, hold, ledger.Rent(v.ActivatedAt, v.AccountID, v.ID, v.ProviderID, v.Price, 1))
		o.Events = append(o.Events, store.EventOf{VM: v.ID, Event: vm.Event{At: v.CreatedAt, Key: "accepted", Text: "accepted and placed"}})
		taking := takings[v.ServerID]
		if taking == nil {
			taking = &store.Taking{Server: v.ServerID}
			takings[v.ServerID], order = taking, append(order, v.ServerID)
		}
		taking.Amount, taking.Address = taking.Amount.Add(v.Spec.Demand()), v.Address
	}
	list := make([]store.Taking, len(order))
	for i, server := range order {
		list[i] = *takings[server]
	}
	tx.Take(list)
	return tx.StoreOrders(ctx, o)
}

// vm returns a VM whose neighbours are of other customers and other providers.
func (e *estate) vm(i int) (vm.VM, error) {
	provider := i % len(e.providers)
	turn := i / len(e.providers) // of the provider's VMs
	server := provider*e.perProvider + turn%e.perProvider
	active := e.activated.Add(time.Duration(i) * spread / time.Duration(e.vms))
	name, err := id.NewVM(active, e.chance)
	if err != nil {
		return vm.VM{}, err
	}
	n := address + uint32(turn/e.perProvider) //nolint:gosec // fewer than vmsPerServer
	price := money.Amount(leastPrice + i%prices)
	key := make([]byte, keyBytes)
	for k := range key {
		key[k] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(i+k*k)%64]
	}
	return vm.VM{
		ID: name, AccountID: e.customers[i%len(e.customers)], ServerID: e.servers[server], OfferID: e.offers[provider], ProviderID: e.providers[provider],
		DatacenterID: e.datacenters[provider], Name: fmt.Sprintf("web-%d", i%vmsPerCustomer),
		Spec: vm.Spec{
			Hostname: "web", Image: "https://images.example/debian-12-genericcloud-amd64.qcow2", SSHKeys: []string{"ssh-ed25519 " + string(key) + " laptop"},
			Ports: []vm.Port{{Number: 22, Protocol: "tcp"}, {Number: 443, Protocol: "tcp"}}, VCPU: 2, RAMGiB: 4, StorageGiB: 25,
		},
		Goal: vm.Run, Generation: 1, Reached: 1, State: vm.Active, Since: active, Address: netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}),
		Price: price, Spent: price, Epoch: epoch, CreatedAt: active, ActivatedAt: active, NextBilling: active.Add(epoch), Epochs: 1,
	}, nil
}
