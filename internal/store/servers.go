package store

import (
	"context"
	"net/netip"
	"time"

	"github.com/uptrace/bun"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Server is a server as the control plane keeps it.
type Server struct {
	ID             string
	Number         int64 // counts servers from 1; given by InsertServer
	Name           string
	OfferID        string
	AgentKey       string // the agent's public key, base64
	Inventory      capacity.Inventory
	Used           capacity.Vector // moved by Take and GiveBack alone
	LastAddress    netip.Addr      // the address that was given out last
	ListEpoch      int64           // of its list: how often the store was older than what its agent follows, from 1
	Revision       int64           // of its list
	ReportSequence int64           // of the newest report
	Instances      []string        // of its agent, newest first
	MeasureWanted  int64           // how often a benchmark was asked for
	State          market.ServerState
	DrainDeadline  time.Time // zero unless it is draining
	SilentSince    time.Time // when it was heard last, once that is too long ago; zero while it is heard
	Problem        string    // why nothing is placed on it though it is open, "" for nothing
	Simulated      bool      // no agent speaks for it
	SeenAt         time.Time // of the newest report
	CreatedAt      time.Time
}

// InsertServer adds a server with nothing taken and gives it the next number.
func (t *Tx) InsertServer(ctx context.Context, s Server) error {
	return t.InsertServers(ctx, []Server{s})
}

// InsertServers adds servers; what Used says is taken already.
func (t *Tx) InsertServers(ctx context.Context, list []Server) error {
	last, err := row[struct{ Number int64 }](ctx, t, "", `SELECT COALESCE(MAX(number), 0) AS number FROM servers`)
	if err != nil {
		return err
	}
	var lines [][]any
	for i, s := range list {
		t.sold(s.ID)
		inventory, hardware, measured, err := inventoryTexts(s.Inventory)
		if err != nil {
			return err
		}
		c, u := s.Inventory.Total, s.Used
		lines = append(lines, []any{
			s.ID, last.Number + int64(i) + 1, s.Name, s.OfferID, s.AgentKey, poolText(s.Inventory), c.VCPU, c.RAMGiB, c.StorageGiB, c.Addresses,
			u.VCPU, u.RAMGiB, u.StorageGiB, u.Addresses, inventory, hardware, s.Inventory.VCPUPerThread, measured,
			s.Simulated, micros(s.SeenAt), micros(s.CreatedAt),
		})
	}
	s := &script{}
	s.insert(`INSERT INTO servers (id, number, name, offer_id, agent_key, pool, vcpu, ram, storage, addresses,
		used_vcpu, used_ram, used_storage, used_addresses, inventory, hardware, vcpu_per_thread, measured, simulated, seen_at, created_at)`, lines)
	t.later(s)
	return nil
}

func inventoryTexts(inv capacity.Inventory) (inventory, hardware, measured string, err error) {
	if inv.Measured != nil {
		if measured, err = toJSON(inv.Measured); err != nil {
			return
		}
	}
	if hardware, err = toJSON(inv.Hardware); err != nil {
		return
	}
	inventory, err = toJSON(inv)
	return
}

// poolText returns a pool of addresses, "" where there is none.
func poolText(inv capacity.Inventory) string {
	if !inv.Pool.IsValid() {
		return ""
	}
	return inv.Pool.String()
}

type serverRow struct {
	ID             string
	Number         int64
	Name           string
	OfferID        string
	AgentKey       string
	Inventory      string
	UsedVCPU       int64 `bun:"used_vcpu"`
	UsedRAM        int64 `bun:"used_ram"`
	UsedStorage    int64
	UsedAddresses  int64
	LastAddress    string
	ListEpoch      int64
	Revision       int64
	ReportSequence int64
	Instances      string
	MeasureWanted  int64
	State          string
	DrainDeadline  int64
	SilentSince    int64
	Problem        string
	Simulated      bool
	SeenAt         int64
	CreatedAt      int64
}

const serverColumns = `s.id, s.number, s.name, s.offer_id, s.agent_key, s.inventory, s.used_vcpu, s.used_ram, s.used_storage, s.used_addresses,
	s.last_address, s.list_epoch, s.revision, s.report_sequence, s.instances, s.measure_wanted, s.state, s.drain_deadline, s.silent_since, s.problem,
	s.simulated, s.seen_at, s.created_at`

func (r serverRow) server() (Server, error) {
	s := Server{
		ID: r.ID, Number: r.Number, Name: r.Name, OfferID: r.OfferID, AgentKey: r.AgentKey,
		Used:      capacity.Vector{VCPU: r.UsedVCPU, RAMGiB: r.UsedRAM, StorageGiB: r.UsedStorage, Addresses: r.UsedAddresses},
		ListEpoch: r.ListEpoch, Revision: r.Revision, ReportSequence: r.ReportSequence, MeasureWanted: r.MeasureWanted, State: market.ServerState(r.State),
		DrainDeadline: at(r.DrainDeadline), SilentSince: at(r.SilentSince), Problem: r.Problem, Simulated: r.Simulated,
		SeenAt: at(r.SeenAt), CreatedAt: at(r.CreatedAt),
	}
	if r.LastAddress != "" {
		var err error
		if s.LastAddress, err = netip.ParseAddr(r.LastAddress); err != nil {
			return s, err
		}
	}
	if err := fromJSON(r.Instances, &s.Instances); err != nil {
		return s, err
	}
	return s, fromJSON(r.Inventory, &s.Inventory)
}

// Server returns a server, or a NotFound fault.
func (t *Tx) Server(ctx context.Context, id string) (Server, error) {
	r, err := row[serverRow](ctx, t, "no such server", `SELECT `+serverColumns+` FROM servers s WHERE s.id = ?`, id)
	if err != nil {
		return Server{}, err
	}
	return r.server()
}

// ServersByNumber returns servers by their numbers, in no order; unknown ones
// are left out.
func (t *Tx) ServersByNumber(ctx context.Context, numbers []int64) ([]Server, error) {
	return t.servers(ctx, `SELECT `+serverColumns+` FROM servers s WHERE s.number IN (?) ORDER BY s.number`, bun.List(numbers))
}

// Site is what placing a VM needs to know of a server.
type Site struct {
	ID   string
	Pool netip.Prefix // of addresses
	Last netip.Addr   // the address that was given out last
}

// Sites returns the sites of servers by their numbers; unknown ones are left out.
func (t *Tx) Sites(ctx context.Context, numbers []int64) (map[uint32]Site, error) {
	list, err := rows[struct {
		Number      uint32
		ID          string
		LastAddress string
		Pool        netip.Prefix
	}](ctx, t, `SELECT number, id, last_address, pool FROM servers WHERE number IN (?) ORDER BY number`, bun.List(numbers))
	out := make(map[uint32]Site, len(list))
	for _, r := range list {
		site := Site{ID: r.ID, Pool: r.Pool}
		if r.LastAddress != "" {
			if site.Last, err = netip.ParseAddr(r.LastAddress); err != nil {
				return nil, err
			}
		}
		out[r.Number] = site
	}
	return out, err
}

// ServersByID returns servers by their ids, in no order; unknown ones are left out.
func (t *Tx) ServersByID(ctx context.Context, ids []string) ([]Server, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return t.servers(ctx, `SELECT `+serverColumns+` FROM servers s WHERE s.id IN (?) ORDER BY s.number`, bun.List(ids))
}

// ProviderServers returns a provider's servers, oldest first, without those
// that were removed.
func (t *Tx) ProviderServers(ctx context.Context, providerID string) ([]Server, error) {
	return t.servers(ctx, `SELECT `+serverColumns+` FROM servers s JOIN offers o ON o.id = s.offer_id
		WHERE o.provider_id = ? AND s.state <> 'removed' ORDER BY s.number`, providerID)
}

// ProviderServer returns a provider's server by its id, or by its name unless
// it was removed, or a NotFound fault.
func (t *Tx) ProviderServer(ctx context.Context, providerID, given string) (Server, error) {
	r, err := row[serverRow](ctx, t, "no such server", `SELECT `+serverColumns+` FROM servers s JOIN offers o ON o.id = s.offer_id
		WHERE o.provider_id = ? AND (s.id = ? OR s.name = ? AND s.name <> '' AND s.state <> 'removed') ORDER BY s.number LIMIT 1`,
		providerID, given, given)
	if err != nil {
		return Server{}, err
	}
	return r.server()
}

// VMCounts returns how many VMs are on a provider's servers, by the server's id.
func (t *Tx) VMCounts(ctx context.Context, providerID string) (map[string]int, error) {
	list, err := rows[struct {
		ServerID string
		N        int
	}](ctx, t, `SELECT server_id, COUNT(*) AS n FROM vms WHERE provider_id = ? AND NOT gone GROUP BY server_id ORDER BY server_id`, providerID)
	out := make(map[string]int, len(list))
	for _, r := range list {
		out[r.ServerID] = r.N
	}
	return out, err
}

// SilentServers returns up to limit ids of servers that are not known to be
// silent and were not heard since a time, longest silent first.
func (t *Tx) SilentServers(ctx context.Context, since time.Time, limit int) ([]string, error) {
	return t.ids(ctx, `SELECT id FROM servers WHERE seen_at < ? AND silent_since = 0 AND state <> 'removed' AND NOT simulated
		ORDER BY seen_at LIMIT ?`, micros(since), limit)
}

// DrainedServers returns up to limit ids of draining servers whose deadline has
// passed, the longest overdue first.
func (t *Tx) DrainedServers(ctx context.Context, now time.Time, limit int) ([]string, error) {
	return t.ids(ctx, `SELECT id FROM servers WHERE drain_deadline > 0 AND drain_deadline <= ? ORDER BY drain_deadline LIMIT ?`, micros(now), limit)
}

// SimulatedServers returns the ids of the simulated servers that VMs are on.
func (t *Tx) SimulatedServers(ctx context.Context) ([]string, error) {
	return t.ids(ctx, `SELECT id FROM servers s WHERE simulated AND EXISTS
		(SELECT 1 FROM vms v WHERE v.server_id = s.id AND NOT v.gone) ORDER BY id`)
}

func (t *Tx) ids(ctx context.Context, query string, args ...any) ([]string, error) {
	list, err := rows[struct{ ID string }](ctx, t, query, args...)
	return convert(list, func(r struct{ ID string }) string { return r.ID }), err
}

func (t *Tx) servers(ctx context.Context, query string, args ...any) ([]Server, error) {
	list, err := rows[serverRow](ctx, t, query, args...)
	if err != nil {
		return nil, err
	}
	out := make([]Server, len(list))
	for i, r := range list {
		if out[i], err = r.server(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ServerByKey returns the id of the server whose agent has that public key, or
// a NotFound fault.
func (t *Tx) ServerByKey(ctx context.Context, agentKey string) (string, error) {
	r, err := row[struct{ ID string }](ctx, t, "no such server", `SELECT id FROM servers WHERE agent_key = ?`, agentKey)
	return r.ID, err
}

// Heard notes a report that tells nothing new of its server.
func (t *Tx) Heard(ctx context.Context, serverID string, sequence int64, now time.Time) error {
	_, err := t.exec(ctx, `UPDATE servers SET report_sequence = ?, seen_at = ? WHERE id = ?`, sequence, micros(now), serverID)
	return err
}

// UpdateServer writes all of s that can change but for what is taken and its
// last address. Its part of the marketplace is read anew by everyone.
func (t *Tx) UpdateServer(ctx context.Context, s Server) error {
	inventory, hardware, measured, err := inventoryTexts(s.Inventory)
	if err != nil {
		return err
	}
	instances, err := toJSON(append([]string{}, s.Instances...))
	if err != nil {
		return err
	}
	t.sold(s.ID)
	c := s.Inventory.Total
	_, err = t.exec(ctx, `UPDATE servers SET name = ?, offer_id = ?, inventory = ?, pool = ?, vcpu = ?, ram = ?, storage = ?, addresses = ?, hardware = ?,
		vcpu_per_thread = ?, measured = ?, list_epoch = ?, revision = ?, report_sequence = ?, instances = ?, measure_wanted = ?, state = ?, drain_deadline = ?,
		silent_since = ?, problem = ?, seen_at = ? WHERE id = ?`,
		s.Name, s.OfferID, inventory, poolText(s.Inventory), c.VCPU, c.RAMGiB, c.StorageGiB, c.Addresses, hardware,
		s.Inventory.VCPUPerThread, measured, s.ListEpoch, s.Revision, s.ReportSequence, instances, s.MeasureWanted, string(s.State), micros(s.DrainDeadline),
		micros(s.SilentSince), s.Problem, micros(s.SeenAt), s.ID)
	return err
}

// GiveBack returns v to a server's capacity.
func (t *Tx) GiveBack(ctx context.Context, serverID string, v capacity.Vector) error {
	t.sold(serverID)
	_, err := t.exec(ctx, `UPDATE servers SET used_vcpu = used_vcpu - ?, used_ram = used_ram - ?, used_storage = used_storage - ?,
		used_addresses = used_addresses - ? WHERE id = ?`, v.VCPU, v.RAMGiB, v.StorageGiB, v.Addresses, serverID)
	return err
}

// Revise raises the revision of a server's list.
func (t *Tx) Revise(ctx context.Context, serverID string) error {
	_, err := t.exec(ctx, `UPDATE servers SET revision = revision + 1 WHERE id = ?`, serverID)
	return err
}

// PutServerEvent writes a line of a server's timeline, and drops the oldest
// ones beyond 500. A line with the same key gets the new text.
func (t *Tx) PutServerEvent(ctx context.Context, serverID string, e vm.Event) error {
	if _, err := t.exec(ctx, `INSERT INTO server_events (server_id, key, at, text) VALUES (?, ?, ?, ?)
		ON CONFLICT (server_id, key) DO UPDATE SET text = excluded.text WHERE server_events.text <> excluded.text`,
		serverID, e.Key, micros(e.At), e.Text); err != nil {
		return err
	}
	_, err := t.exec(ctx, `DELETE FROM server_events WHERE server_id = ? AND id < (SELECT id FROM server_events WHERE server_id = ?
		ORDER BY id DESC LIMIT 1 OFFSET 499)`, serverID, serverID)
	return err
}

// ServerEvents returns a server's timeline, oldest first.
func (t *Tx) ServerEvents(ctx context.Context, serverID string) ([]vm.Event, error) {
	list, err := rows[eventRow](ctx, t, `SELECT key, at, text FROM server_events WHERE server_id = ? ORDER BY at, id`, serverID)
	return convert(list, eventRow.event), err
}
