package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// InsertProvider adds a provider, which acts for an account.
func (t *Tx) InsertProvider(ctx context.Context, id, accountID, name string, created time.Time) error {
	_, err := t.exec(ctx, `INSERT INTO providers (id, account_id, name, created_at) VALUES (?, ?, ?, ?)`,
		id, accountID, name, micros(created))
	return err
}

// ProviderByName returns the id of a provider, or a NotFound fault.
func (t *Tx) ProviderByName(ctx context.Context, name string) (string, error) {
	r, err := row[struct{ ID string }](ctx, t, "no such provider", `SELECT id FROM providers WHERE name = ?`, name)
	return r.ID, err
}

// Reprice gives all offers of a provider new prices. VMs keep the price they
// were deployed at.
func (t *Tx) Reprice(ctx context.Context, providerID string, p market.Prices) error {
	_, err := t.exec(ctx, `UPDATE offers SET price_vcpu = ?, price_ram = ?, price_storage = ?, price_address = ? WHERE provider_id = ?`,
		int64(p.VCPU), int64(p.RAM), int64(p.Storage), int64(p.Address), providerID)
	return err
}

// InsertDatacenter adds a datacenter.
func (t *Tx) InsertDatacenter(ctx context.Context, d market.Datacenter) error {
	certifications, err := toJSON(append([]string{}, d.Certifications...))
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO datacenters (id, provider_id, country, city, city_index, tier, certifications, slug)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, d.ID, d.ProviderID, d.Country, d.City, d.Index, d.Tier, certifications, d.Slug())
	return err
}

type datacenterRow struct {
	ID             string
	ProviderID     string
	Country        string
	City           string
	CityIndex      int64
	Tier           int64
	Certifications string
}

func (r datacenterRow) datacenter() (market.Datacenter, error) {
	d := market.Datacenter{ID: r.ID, ProviderID: r.ProviderID, Country: r.Country, City: r.City, Index: r.CityIndex, Tier: r.Tier}
	return d, fromJSON(r.Certifications, &d.Certifications)
}

// Datacenters returns all datacenters by their slug.
func (t *Tx) Datacenters(ctx context.Context) ([]market.Datacenter, error) {
	list, err := rows[datacenterRow](ctx, t,
		`SELECT id, provider_id, country, city, city_index, tier, certifications FROM datacenters ORDER BY slug`)
	if err != nil {
		return nil, err
	}
	out := make([]market.Datacenter, len(list))
	for i, r := range list {
		if out[i], err = r.datacenter(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// InsertOffer adds an offer; its servers join it by themselves.
func (t *Tx) InsertOffer(ctx context.Context, o market.Offer, created time.Time) error {
	hardware, err := toJSON(o.Hardware)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO offers (id, provider_id, datacenter_id, hardware, price_vcpu, price_ram, price_storage,
		price_address, max_extra_storage, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		o.ID, o.ProviderID, o.Datacenter.ID, hardware, int64(o.Prices.VCPU), int64(o.Prices.RAM), int64(o.Prices.Storage),
		int64(o.Prices.Address), o.MaxExtraStorage, micros(created))
	return err
}

type offerRow struct {
	ID              string
	ProviderID      string
	DatacenterID    string
	Hardware        string
	PriceVCPU       int64 `bun:"price_vcpu"`
	PriceRAM        int64 `bun:"price_ram"`
	PriceStorage    int64
	PriceAddress    int64
	MaxExtraStorage int64
}

type serverRow struct {
	ID            string
	OfferID       string
	VCPU          int64 `bun:"vcpu"`
	RAM           int64 `bun:"ram"`
	Storage       int64
	Addresses     int64
	UsedVCPU      int64 `bun:"used_vcpu"`
	UsedRAM       int64 `bun:"used_ram"`
	UsedStorage   int64
	UsedAddresses int64
	Inventory     string
}

func (r serverRow) server() (market.Server, error) {
	var inventory capacity.Inventory
	err := fromJSON(r.Inventory, &inventory)
	return market.Server{
		ID:            r.ID,
		Capacity:      capacity.Vector{VCPU: r.VCPU, RAMGiB: r.RAM, StorageGiB: r.Storage, Addresses: r.Addresses},
		Used:          capacity.Vector{VCPU: r.UsedVCPU, RAMGiB: r.UsedRAM, StorageGiB: r.UsedStorage, Addresses: r.UsedAddresses},
		VCPUPerThread: inventory.VCPUPerThread,
	}, err
}

// Offers returns all offers with their datacenters and servers, oldest first.
func (t *Tx) Offers(ctx context.Context) ([]market.Offer, error) {
	datacenters, err := t.Datacenters(ctx)
	if err != nil {
		return nil, err
	}
	places := make(map[string]market.Datacenter, len(datacenters))
	for _, d := range datacenters {
		places[d.ID] = d
	}
	servers, err := t.serversByOffer(ctx)
	if err != nil {
		return nil, err
	}
	list, err := rows[offerRow](ctx, t, `SELECT id, provider_id, datacenter_id, hardware, price_vcpu, price_ram, price_storage,
		price_address, max_extra_storage FROM offers ORDER BY created_at, id`)
	if err != nil {
		return nil, err
	}
	out := make([]market.Offer, len(list))
	for i, r := range list {
		out[i] = market.Offer{
			ID: r.ID, ProviderID: r.ProviderID, Datacenter: places[r.DatacenterID], Servers: servers[r.ID],
			Prices: market.Prices{
				VCPU: money.Amount(r.PriceVCPU), RAM: money.Amount(r.PriceRAM),
				Storage: money.Amount(r.PriceStorage), Address: money.Amount(r.PriceAddress),
			},
			MaxExtraStorage: r.MaxExtraStorage,
		}
		if err := fromJSON(r.Hardware, &out[i].Hardware); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *Tx) serversByOffer(ctx context.Context) (map[string][]market.Server, error) {
	list, err := rows[serverRow](ctx, t, `SELECT id, offer_id, vcpu, ram, storage, addresses,
		used_vcpu, used_ram, used_storage, used_addresses, inventory FROM servers ORDER BY id`)
	out := map[string][]market.Server{}
	for _, r := range list {
		s, err := r.server()
		if err != nil {
			return nil, err
		}
		out[r.OfferID] = append(out[r.OfferID], s)
	}
	return out, err
}

func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode for the store: %w", err)
	}
	return string(b), nil
}

func fromJSON(text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("decode from the store: %w", err)
	}
	return nil
}
