package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// InsertOffer adds an offer; its servers join it by themselves.
func (t *Tx) InsertOffer(ctx context.Context, o market.Offer, created time.Time) error {
	hardware, err := toJSON(o.Hardware)
	if err != nil {
		return err
	}
	revision := t.revise()
	_, err = t.exec(ctx, `INSERT INTO offers (id, name, provider_id, datacenter_id, hardware, price_vcpu, price_ram, price_storage,
		price_address, max_extra_storage, created_at, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		o.ID, o.Name, o.ProviderID, o.Datacenter.ID, hardware, int64(o.Prices.VCPU), int64(o.Prices.RAM), int64(o.Prices.Storage),
		int64(o.Prices.Address), o.MaxExtraStorage, micros(created), revision)
	return err
}

// UpdateOffer changes an offer's prices, hardware, extra storage, place and
// whether it is withdrawn. VMs keep the price they were deployed at.
func (t *Tx) UpdateOffer(ctx context.Context, o market.Offer, now time.Time) error {
	hardware, err := toJSON(o.Hardware)
	if err != nil {
		return err
	}
	revision := t.revise()
	withdrawn := int64(0)
	if o.Withdrawn {
		withdrawn = micros(now)
	}
	_, err = t.exec(ctx, `UPDATE offers SET datacenter_id = ?, hardware = ?, price_vcpu = ?, price_ram = ?, price_storage = ?, price_address = ?,
		max_extra_storage = ?, withdrawn_at = ?, changed = ? WHERE id = ?`,
		o.Datacenter.ID, hardware, int64(o.Prices.VCPU), int64(o.Prices.RAM), int64(o.Prices.Storage), int64(o.Prices.Address),
		o.MaxExtraStorage, withdrawn, revision, o.ID)
	return err
}

type offerRow struct {
	ID              string
	Name            string
	ProviderID      string
	Provider        string
	DatacenterID    string
	Country         string
	City            string
	CityIndex       int64
	Tier            int64
	Certifications  string
	Hardware        string
	PriceVCPU       int64 `bun:"price_vcpu"`
	PriceRAM        int64 `bun:"price_ram"`
	PriceStorage    int64
	PriceAddress    int64
	MaxExtraStorage int64
	WithdrawnAt     int64
}

func (r offerRow) offer() (market.Offer, error) {
	place := datacenterRow{
		ID: r.DatacenterID, ProviderID: r.ProviderID, Country: r.Country, City: r.City, CityIndex: r.CityIndex, Tier: r.Tier, Certifications: r.Certifications,
	}
	o := market.Offer{
		ID: r.ID, Name: r.Name, ProviderID: r.ProviderID, Provider: r.Provider,
		Prices: market.Prices{
			VCPU: money.Amount(r.PriceVCPU), RAM: money.Amount(r.PriceRAM), Storage: money.Amount(r.PriceStorage), Address: money.Amount(r.PriceAddress),
		},
		MaxExtraStorage: r.MaxExtraStorage, Withdrawn: r.WithdrawnAt != 0,
	}
	var err error
	if o.Datacenter, err = place.datacenter(); err != nil {
		return o, err
	}
	return o, fromJSON(r.Hardware, &o.Hardware)
}

// ProviderOffers returns a provider's offers by name, withdrawn ones too.
func (t *Tx) ProviderOffers(ctx context.Context, providerID string) ([]market.Offer, error) {
	return t.offers(ctx, `o.provider_id = ?`, providerID)
}

// Offer returns an offer, a withdrawn one too, or a NotFound fault.
func (t *Tx) Offer(ctx context.Context, id string) (market.Offer, error) {
	list, err := t.offers(ctx, `o.id = ?`, id)
	if err != nil || len(list) == 0 {
		return market.Offer{}, cmp.Or(err, fault.New(fault.NotFound, "no offer with this id"))
	}
	return list[0], nil
}

// offers returns the offers that a condition holds for.
func (t *Tx) offers(ctx context.Context, condition string, arg any) ([]market.Offer, error) {
	list, err := rows[offerRow](ctx, t, `SELECT o.id, o.name, o.provider_id, p.name AS provider, o.datacenter_id, d.country, d.city, d.city_index,
		d.tier, d.certifications, o.hardware, o.price_vcpu, o.price_ram, o.price_storage, o.price_address, o.max_extra_storage, o.withdrawn_at
		FROM offers o JOIN datacenters d ON d.id = o.datacenter_id JOIN providers p ON p.id = o.provider_id
		WHERE `+condition+` ORDER BY o.provider_id, o.name`, arg)
	if err != nil {
		return nil, err
	}
	out := make([]market.Offer, len(list))
	for i, r := range list {
		if out[i], err = r.offer(); err != nil {
			return nil, err
		}
	}
	return out, nil
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
