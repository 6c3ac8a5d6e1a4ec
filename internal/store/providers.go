package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/cpucloud/cpucloud/internal/market"
)

// Provider is who lists servers.
type Provider struct {
	ID        string
	AccountID string // who acts for it
	Name      string // unique
	CreatedAt time.Time
}

// ServerCounts returns how many servers the providers of an account have, or
// all providers for "", without those that were removed.
func (t *Tx) ServerCounts(ctx context.Context, accountID string) (map[string]int, error) {
	list, err := rows[struct {
		ID string
		N  int
	}](ctx, t, `SELECT o.provider_id AS id, COUNT(*) AS n FROM servers s JOIN offers o ON o.id = s.offer_id
		JOIN providers p ON p.id = o.provider_id WHERE s.state <> 'removed' AND (? = '' OR p.account_id = ?)
		GROUP BY o.provider_id ORDER BY o.provider_id`, accountID, accountID)
	out := make(map[string]int, len(list))
	for _, r := range list {
		out[r.ID] = r.N
	}
	return out, err
}

type providerRow struct {
	ID        string
	AccountID string
	Name      string
	CreatedAt int64
}

func (r providerRow) provider() Provider {
	return Provider{ID: r.ID, AccountID: r.AccountID, Name: r.Name, CreatedAt: at(r.CreatedAt)}
}

// InsertProvider adds a provider, which acts for an account.
func (t *Tx) InsertProvider(ctx context.Context, id, accountID, name string, created time.Time) error {
	_, err := t.exec(ctx, `INSERT INTO providers (id, account_id, name, created_at) VALUES (?, ?, ?, ?)`,
		id, accountID, name, micros(created))
	return err
}

// ProviderByName returns a provider by its name or its id, or a NotFound fault.
func (t *Tx) ProviderByName(ctx context.Context, name string) (Provider, error) {
	r, err := row[providerRow](ctx, t, "no such provider",
		`SELECT id, account_id, name, created_at FROM providers WHERE name = ? OR id = ? ORDER BY id LIMIT 1`, name, name)
	return r.provider(), err
}

// Providers returns the providers of an account, or all for "", by name.
func (t *Tx) Providers(ctx context.Context, accountID string) ([]Provider, error) {
	list, err := rows[providerRow](ctx, t, `SELECT id, account_id, name, created_at FROM providers
		WHERE ? = '' OR account_id = ? ORDER BY name`, accountID, accountID)
	return convert(list, providerRow.provider), err
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

// UpdateDatacenter changes a datacenter's tier and certifications; it stays
// where it is.
func (t *Tx) UpdateDatacenter(ctx context.Context, d market.Datacenter) error {
	certifications, err := toJSON(append([]string{}, d.Certifications...))
	if err != nil {
		return err
	}
	revision := t.revise()
	if _, err = t.exec(ctx, `UPDATE datacenters SET tier = ?, certifications = ? WHERE id = ?`, d.Tier, certifications, d.ID); err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE offers SET changed = ? WHERE datacenter_id = ?`, revision, d.ID)
	return err
}

// DeleteDatacenter removes a datacenter that no offer was ever of.
func (t *Tx) DeleteDatacenter(ctx context.Context, id string) error {
	_, err := t.exec(ctx, `DELETE FROM datacenters WHERE id = ?`, id)
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

const datacenterColumns = `id, provider_id, country, city, city_index, tier, certifications`

// Datacenters returns all datacenters by their slug.
func (t *Tx) Datacenters(ctx context.Context) ([]market.Datacenter, error) {
	return t.datacenters(ctx, `SELECT `+datacenterColumns+` FROM datacenters ORDER BY slug`)
}

// ProviderDatacenters returns a provider's datacenters by their slug.
func (t *Tx) ProviderDatacenters(ctx context.Context, providerID string) ([]market.Datacenter, error) {
	return t.datacenters(ctx, `SELECT `+datacenterColumns+` FROM datacenters WHERE provider_id = ? ORDER BY slug`, providerID)
}

// CityDatacenters returns the datacenters in a city, of all providers, by index.
func (t *Tx) CityDatacenters(ctx context.Context, country, city string) ([]market.Datacenter, error) {
	return t.datacenters(ctx, `SELECT `+datacenterColumns+` FROM datacenters WHERE country = ? AND city = ? ORDER BY city_index`, country, city)
}

// DatacentersByID returns datacenters by their ids; unknown ones are left out.
func (t *Tx) DatacentersByID(ctx context.Context, ids []string) ([]market.Datacenter, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return t.datacenters(ctx, `SELECT `+datacenterColumns+` FROM datacenters WHERE id IN (?) ORDER BY slug`, bun.List(ids))
}

// DatacenterBySlug returns a datacenter, or a NotFound fault.
func (t *Tx) DatacenterBySlug(ctx context.Context, slug string) (market.Datacenter, error) {
	r, err := row[datacenterRow](ctx, t, "no such datacenter", `SELECT `+datacenterColumns+` FROM datacenters WHERE slug = ?`, slug)
	if err != nil {
		return market.Datacenter{}, err
	}
	return r.datacenter()
}

func (t *Tx) datacenters(ctx context.Context, query string, args ...any) ([]market.Datacenter, error) {
	list, err := rows[datacenterRow](ctx, t, query, args...)
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
