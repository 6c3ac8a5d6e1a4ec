package store

import (
	"context"
	"net/netip"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
)

// Server is a server as the control plane keeps it.
type Server struct {
	ID             string
	OfferID        string
	AgentKey       string // the agent's public key, base64
	Inventory      capacity.Inventory
	LastAddress    netip.Addr // the address that was given out last
	Revision       int64      // of its list
	ReportSequence int64      // of the newest report
	SeenAt         time.Time  // of the newest report
	CreatedAt      time.Time
}

// InsertServer adds a server with nothing taken.
func (t *Tx) InsertServer(ctx context.Context, s Server) error {
	inventory, err := toJSON(s.Inventory)
	if err != nil {
		return err
	}
	c := s.Inventory.Total
	_, err = t.exec(ctx, `INSERT INTO servers (id, offer_id, agent_key, vcpu, ram, storage, addresses, inventory, seen_at, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.ID, s.OfferID, s.AgentKey, c.VCPU, c.RAMGiB, c.StorageGiB, c.Addresses, inventory, micros(s.SeenAt), micros(s.CreatedAt))
	return err
}

// Server returns a server, or a NotFound fault.
func (t *Tx) Server(ctx context.Context, id string) (Server, error) {
	r, err := row[struct {
		OfferID        string
		AgentKey       string
		Inventory      string
		LastAddress    string
		Revision       int64
		ReportSequence int64
		SeenAt         int64
		CreatedAt      int64
	}](ctx, t, "no such server", `SELECT offer_id, agent_key, inventory, last_address, revision, report_sequence, seen_at, created_at
		FROM servers WHERE id = ?`, id)
	if err != nil {
		return Server{}, err
	}
	s := Server{
		ID: id, OfferID: r.OfferID, AgentKey: r.AgentKey, Revision: r.Revision, ReportSequence: r.ReportSequence,
		SeenAt: at(r.SeenAt), CreatedAt: at(r.CreatedAt),
	}
	if r.LastAddress != "" {
		if s.LastAddress, err = netip.ParseAddr(r.LastAddress); err != nil {
			return s, err
		}
	}
	return s, fromJSON(r.Inventory, &s.Inventory)
}

// ServerByKey returns the id of the server whose agent has that public key, or
// a NotFound fault.
func (t *Tx) ServerByKey(ctx context.Context, agentKey string) (string, error) {
	r, err := row[struct{ ID string }](ctx, t, "no such server", `SELECT id FROM servers WHERE agent_key = ?`, agentKey)
	return r.ID, err
}

// Heard notes a report with its inventory; false when a report as new as this
// was noted before.
func (t *Tx) Heard(ctx context.Context, serverID string, sequence int64, inv capacity.Inventory, now time.Time) (bool, error) {
	inventory, err := toJSON(inv)
	if err != nil {
		return false, err
	}
	c := inv.Total
	n, err := t.exec(ctx, `UPDATE servers SET report_sequence = ?, inventory = ?, vcpu = ?, ram = ?, storage = ?, addresses = ?, seen_at = ?
		WHERE id = ? AND report_sequence < ?`,
		sequence, inventory, c.VCPU, c.RAMGiB, c.StorageGiB, c.Addresses, micros(now), serverID, sequence)
	return n == 1, err
}

// Take takes v out of a server's capacity; false, and nothing is taken, when it
// no longer fits.
func (t *Tx) Take(ctx context.Context, serverID string, v capacity.Vector) (bool, error) {
	n, err := t.exec(ctx, `UPDATE servers SET used_vcpu = used_vcpu + ?, used_ram = used_ram + ?, used_storage = used_storage + ?,
		used_addresses = used_addresses + ?
		WHERE id = ? AND used_vcpu + ? <= vcpu AND used_ram + ? <= ram AND used_storage + ? <= storage AND used_addresses + ? <= addresses`,
		v.VCPU, v.RAMGiB, v.StorageGiB, v.Addresses, serverID, v.VCPU, v.RAMGiB, v.StorageGiB, v.Addresses)
	return n == 1, err
}

// GiveBack returns v to a server's capacity.
func (t *Tx) GiveBack(ctx context.Context, serverID string, v capacity.Vector) error {
	_, err := t.exec(ctx, `UPDATE servers SET used_vcpu = used_vcpu - ?, used_ram = used_ram - ?, used_storage = used_storage - ?,
		used_addresses = used_addresses - ? WHERE id = ?`, v.VCPU, v.RAMGiB, v.StorageGiB, v.Addresses, serverID)
	return err
}

// SetLastAddress notes which address was given out last.
func (t *Tx) SetLastAddress(ctx context.Context, serverID string, a netip.Addr) error {
	_, err := t.exec(ctx, `UPDATE servers SET last_address = ? WHERE id = ?`, a.String(), serverID)
	return err
}

// Revise raises the revision of a server's list.
func (t *Tx) Revise(ctx context.Context, serverID string) error {
	_, err := t.exec(ctx, `UPDATE servers SET revision = revision + 1 WHERE id = ?`, serverID)
	return err
}

// Terms are what a server joins under.
type Terms struct {
	ProviderID      string        `json:"provider"`
	DatacenterID    string        `json:"datacenter"`
	Prices          market.Prices `json:"prices"`
	MaxExtraStorage int64         `json:"max_extra_storage"` // GiB, 0 for no limit
}

// InsertToken adds a join token by its hash.
func (t *Tx) InsertToken(ctx context.Context, hash string, terms Terms, expires time.Time) error {
	text, err := toJSON(terms)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO join_tokens (hash, terms, expires_at, used_at) VALUES (?, ?, ?, 0)`, hash, text, micros(expires))
	return err
}

// UseToken uses a join token up and returns its terms. Returns a Denied fault
// when it is unknown, used or expired.
func (t *Tx) UseToken(ctx context.Context, hash string, now time.Time) (Terms, error) {
	var terms Terms
	n, err := t.exec(ctx, `UPDATE join_tokens SET used_at = ? WHERE hash = ? AND used_at = 0 AND expires_at > ?`, micros(now), hash, micros(now))
	if err != nil {
		return terms, err
	}
	if n == 0 {
		return terms, fault.New(fault.Denied, "this join token is unknown, used or expired; ask for a new one")
	}
	r, err := row[struct{ Terms string }](ctx, t, "no such token", `SELECT terms FROM join_tokens WHERE hash = ?`, hash)
	if err != nil {
		return terms, err
	}
	return terms, fromJSON(r.Terms, &terms)
}
