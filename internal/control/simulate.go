package control

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Columns of a simulated fleet, in their order: a line of CSV is a server.
const (
	fleetServer = iota
	fleetProvider
	fleetDatacenter
	fleetCountry
	fleetManufacturer
	fleetArchitecture
	fleetMemory // such as DDR5
	fleetStorage
	fleetVCPU // what there is: vCPU, GiB of RAM, GiB of storage, addresses
	fleetRAM
	fleetDisk
	fleetAddresses
	fleetUsed  // what is taken, in the same order
	fleetPrice = fleetUsed + 4
	fleetWidth = fleetPrice + 1
)

// simulated is whose the simulated providers are.
const simulated = "simulation"

// Simulate adds servers out of lines of CSV whose agents exist in this process
// alone: to try a large market, and to measure one. The columns are server,
// provider, datacenter (numbers), country, CPU manufacturer and architecture,
// memory, storage, vCPU, RAM GiB, storage GiB and addresses, the same four that
// are taken, and the price in micro-USDC per epoch of 1 vCPU, 2 GiB of RAM and
// 12.5 GiB of storage. It returns how many servers were added. Where more is to
// follow, they are found only a little later. For operators; Conflict where the
// server was not started to allow it, Invalid for a line that can't be read.
func (s *Service) Simulate(ctx context.Context, who account.Actor, lines string, more bool) (added int, err error) {
	if err := who.RequireOperator(); err != nil {
		return 0, err
	}
	if !s.Simulation {
		return 0, fault.New(fault.Conflict, "this cloud takes no simulated servers; start it with --allow-simulation")
	}
	fleet, err := readFleet(lines)
	if err != nil {
		return 0, err
	}
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		b := founder{Service: s, tx: tx, providers: map[string]string{}, datacenters: map[string]market.Datacenter{}, offers: map[string]string{}}
		list := make([]store.Server, len(fleet))
		for i, f := range fleet {
			if list[i], err = b.server(ctx, f); err != nil {
				return err
			}
		}
		return tx.InsertServers(ctx, list)
	})
	if err != nil {
		return 0, err
	}
	if !more {
		s.changed(ctx)
	}
	return len(fleet), nil
}

// fleetLine is one line of a fleet.
type fleetLine struct {
	text  [fleetWidth]string
	total capacity.Vector
	used  capacity.Vector
	price int64
}

func readFleet(lines string) ([]fleetLine, error) {
	r := csv.NewReader(strings.NewReader(lines))
	r.FieldsPerRecord = fleetWidth
	var fleet []fleetLine
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return fleet, nil
		}
		if err != nil {
			return nil, fault.Newf(fault.Invalid, "the fleet can't be read: %v", err)
		}
		line := fleetLine{text: [fleetWidth]string(record)}
		for i, to := range map[int]*int64{
			fleetVCPU: &line.total.VCPU, fleetRAM: &line.total.RAMGiB, fleetDisk: &line.total.StorageGiB, fleetAddresses: &line.total.Addresses,
			fleetUsed: &line.used.VCPU, fleetUsed + 1: &line.used.RAMGiB, fleetUsed + 2: &line.used.StorageGiB, fleetUsed + 3: &line.used.Addresses,
			fleetPrice: &line.price,
		} {
			if *to, err = strconv.ParseInt(record[i], 10, 32); err != nil || *to < 0 {
				return nil, fault.Newf(fault.Invalid, "line %d of the fleet: %.40q is not a number of that column", len(fleet)+1, record[i])
			}
		}
		if len(record[fleetCountry]) != 2 {
			return nil, fault.Newf(fault.Invalid, "line %d of the fleet: country %.40q is not two letters", len(fleet)+1, record[fleetCountry])
		}
		fleet = append(fleet, line)
	}
}

// founder makes the providers, datacenters and offers of a fleet, each once.
type founder struct {
	*Service
	tx          *store.Tx
	providers   map[string]string
	datacenters map[string]market.Datacenter
	offers      map[string]string
}

func (b *founder) server(ctx context.Context, f fleetLine) (store.Server, error) {
	offerID, err := b.offer(ctx, f)
	if err != nil {
		return store.Server{}, err
	}
	serverID, err := b.newID("srv")
	now := b.Now()
	return store.Server{
		ID: serverID, Name: "sim-" + f.text[fleetServer], OfferID: offerID, AgentKey: "simulated:" + serverID, Simulated: true,
		Inventory: capacity.Inventory{
			Hardware: hardwareOf(f), Total: f.total, VCPUPerThread: 1, Pool: netip.MustParsePrefix("10.0.0.0/22"), Hypervisor: "none", Accelerator: "none",
		},
		Used: f.used, SeenAt: now, CreatedAt: now,
	}, err
}

func hardwareOf(f fleetLine) capacity.Hardware {
	memory := strings.TrimRight(f.text[fleetMemory], "0123456789")
	disk := f.text[fleetStorage]
	if strings.EqualFold(disk, "NVMe") {
		disk = "NVMe"
	}
	return capacity.Hardware{
		CPU:     capacity.CPU{Manufacturer: f.text[fleetManufacturer], Brand: "simulated", Architecture: f.text[fleetArchitecture], Generation: "1"},
		Memory:  capacity.Memory{Type: memory, Generation: f.text[fleetMemory][len(memory):]},
		Storage: capacity.Storage{Type: disk},
	}
}

// fleetPrices shares the price of a unit among its parts: two fifths for the
// vCPU, half for the RAM, a tenth for the storage.
func fleetPrices(unit int64) market.Prices {
	return market.Prices{VCPU: money.Amount(unit * 4 / 10), RAM: money.Amount(unit / 4), Storage: money.Amount(unit * 8 / 1000)}
}

func (b *founder) offer(ctx context.Context, f fleetLine) (string, error) {
	place, err := b.datacenter(ctx, f)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("sim-%s-%s-%d", f.text[fleetDatacenter], f.text[fleetArchitecture], f.price)
	if known, ok := b.offers[name]; ok {
		return known, nil
	}
	offerID, err := b.newID("off")
	if err != nil {
		return "", err
	}
	b.offers[name] = offerID
	return offerID, b.tx.InsertOffer(ctx, market.Offer{
		ID: offerID, Name: name, ProviderID: place.ProviderID, Datacenter: place,
		Hardware: capacity.Hardware{CPU: capacity.CPU{Architecture: f.text[fleetArchitecture]}}, Prices: fleetPrices(f.price),
	}, b.Now())
}

func (b *founder) datacenter(ctx context.Context, f fleetLine) (market.Datacenter, error) {
	number := f.text[fleetDatacenter]
	if known, ok := b.datacenters[number]; ok {
		return known, nil
	}
	index, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return market.Datacenter{}, fault.Newf(fault.Invalid, "datacenter %.40q of the fleet is not a number", number)
	}
	d := market.Datacenter{Country: f.text[fleetCountry], City: "SIM", Index: index + 1, Tier: index%4 + 1}
	known, err := b.tx.DatacenterBySlug(ctx, d.Slug())
	if fault.Is(err, fault.NotFound) {
		known = d
		if known.ProviderID, err = b.seller(ctx, f.text[fleetProvider]); err != nil {
			return d, err
		}
		if known.ID, err = b.newID("dc"); err == nil {
			err = b.tx.InsertDatacenter(ctx, known)
		}
	} else if err == nil {
		err = b.learn(ctx, known.ProviderID)
	}
	b.datacenters[number] = known
	return known, err
}

// learn takes the offers of a provider in that is there already.
func (b *founder) learn(ctx context.Context, providerID string) error {
	offers, err := b.tx.ProviderOffers(ctx, providerID)
	for _, o := range offers {
		b.offers[o.Name] = o.ID
	}
	return err
}

// seller returns the id of a provider of the fleet.
func (b *founder) seller(ctx context.Context, number string) (string, error) {
	name := "sim-" + number
	if known, ok := b.providers[name]; ok {
		return known, nil
	}
	known, err := b.tx.ProviderByName(ctx, name)
	if err == nil {
		b.providers[name] = known.ID
		return known.ID, b.learn(ctx, known.ID)
	}
	if !fault.Is(err, fault.NotFound) {
		return "", err
	}
	if err := b.tx.InitAccount(ctx, account.Account{ID: simulated, Name: simulated, CreatedAt: b.Now()}); err != nil {
		return "", err
	}
	providerID, err := b.newID("prv")
	if err != nil {
		return "", err
	}
	b.providers[name] = providerID
	return providerID, b.tx.InsertProvider(ctx, providerID, simulated, name, b.Now())
}
