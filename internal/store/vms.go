package store

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/userdata"
	"github.com/cpucloud/cpucloud/internal/vm"
)

type vmRow struct {
	ID           string
	AccountID    string
	KeyID        string
	ServerID     string
	OfferID      string
	ProviderID   string
	DatacenterID string
	Name         string
	Spec         string
	Goal         string
	Generation   int64
	Reached      int64
	State        string
	Since        int64
	Reason       string
	Deadline     int64
	Address      string
	Price        int64
	PriceParts   string
	Spent        int64
	Reserved     int64
	Epoch        int64
	CreatedAt    int64
	ActivatedAt  int64
	NextBilling  int64
	EndedAt      int64
	Gone         bool
	Epochs       int64
	Settled      int64

	AffinityGroup string
	Wish          string
	KnownAs       string
	Limited       bool
	Before        string
	RevertAt      int64
	Protected     bool
	Operation     string
	Asks          string
	Power         string
	FullParts     string
	Leaves        string
	Held          int64
	Cheaper       bool
	KeptUntil     int64
	GoneAt        int64
	UserData      string
	HostKeys      string
	Labels        string
	Trouble       string
}

func (r vmRow) vm() (vm.VM, error) {
	address, err := netip.ParseAddr(r.Address)
	if err != nil {
		return vm.VM{}, err
	}
	v := vm.VM{
		ID: r.ID, AccountID: r.AccountID, KeyID: r.KeyID, ServerID: r.ServerID, OfferID: r.OfferID, ProviderID: r.ProviderID, DatacenterID: r.DatacenterID,
		Name: r.Name, Goal: vm.Goal(r.Goal), Generation: r.Generation, Reached: r.Reached,
		State: vm.State(r.State), Since: at(r.Since), Reason: r.Reason, Deadline: at(r.Deadline), Address: address,
		Price: money.Amount(r.Price), Spent: money.Amount(r.Spent), Reserved: money.Amount(r.Reserved),
		Epoch: time.Duration(r.Epoch) * time.Microsecond, CreatedAt: at(r.CreatedAt), ActivatedAt: at(r.ActivatedAt),
		NextBilling: at(r.NextBilling), EndedAt: at(r.EndedAt), Gone: r.Gone, Epochs: r.Epochs, Settled: r.Settled, AffinityGroup: r.AffinityGroup,
		Wish: r.Wish, KnownAs: r.KnownAs, Limited: r.Limited, GoneAt: at(r.GoneAt),
		RevertAt: at(r.RevertAt), Protected: r.Protected, Operation: r.Operation,
		Power: vm.Power(r.Power), Held: r.Held, Cheaper: r.Cheaper, KeptUntil: at(r.KeptUntil),
		UserData: userdata.Text(r.UserData), Labels: labelsOf(r.Labels),
	}
	v.HostKeys = hostKeysOf(r.HostKeys)
	if r.PriceParts != "" {
		if err := fromJSON(r.PriceParts, &v.Parts); err != nil {
			return vm.VM{}, err
		}
	}
	if r.Trouble != "" {
		if err := fromJSON(r.Trouble, &v.Trouble); err != nil {
			return vm.VM{}, err
		}
	}
	v.Full = v.Parts
	if r.FullParts != "" {
		if err := fromJSON(r.FullParts, &v.Full); err != nil {
			return vm.VM{}, err
		}
	}
	if r.Leaves != "" {
		if err := fromJSON(r.Leaves, &v.Leaves); err != nil {
			return vm.VM{}, err
		}
	}
	if r.Asks != "" {
		if err := fromJSON(r.Asks, &v.Asks); err != nil {
			return vm.VM{}, err
		}
	}
	if r.Before != "" {
		if err := fromJSON(r.Before, &v.Before); err != nil {
			return vm.VM{}, err
		}
	}
	return v, fromJSON(r.Spec, &v.Spec)
}

// vmColumns is the SELECT list of vmRow; the reserve is the ledger's to say.
const vmColumns = `v.id, v.account_id, v.server_id, v.offer_id, v.provider_id, v.datacenter_id, v.name, v.spec, v.goal, v.generation,
	v.reached, v.state, v.since, v.reason, v.deadline, v.address, v.price, v.price_parts, v.spent,
	COALESCE((SELECT b.amount FROM balances b WHERE b.account = 'vm:' || v.id), 0) AS reserved,
	v.epoch, v.created_at, v.activated_at, v.next_billing, v.ended_at, v.gone, v.epochs, v.settled, v.affinity_group, v.wish, v.known_as, v.key_id, v.limited, v.gone_at,
	v.before, v.revert_at, v.protected, v.operation, v.asks, v.user_data, v.host_keys, v.power, v.full_parts, v.leaves, v.held, v.cheaper, v.kept_until, v.labels, v.trouble`

// InsertVM adds a VM.
func (t *Tx) InsertVM(ctx context.Context, v vm.VM) error {
	return t.StoreOrders(ctx, Orders{VMs: []vm.VM{v}})
}

func (s *script) vms(list []vm.VM) error {
	lines := make([][]any, len(list))
	for i, v := range list {
		t, err := textsOf(v)
		if err != nil {
			return err
		}
		lines[i] = []any{
			v.ID, v.AccountID, v.ServerID, v.OfferID, v.ProviderID, v.DatacenterID, v.Name, t.spec, string(v.Goal), v.Generation,
			v.Reached, string(v.State), micros(v.Since), v.Reason, micros(v.Deadline), v.Address.String(), int64(v.Price), int64(v.Spent),
			v.Epoch.Microseconds(), micros(v.CreatedAt), micros(v.ActivatedAt), micros(v.NextBilling), micros(v.EndedAt), v.Gone, v.Epochs, v.Settled, v.AffinityGroup,
			v.Wish, v.KnownAs, v.KeyID, v.Limited, t.parts, micros(v.GoneAt), t.before, micros(v.RevertAt), v.Protected, v.Operation, t.asks,
			userDataText(v), hostKeysText(v.HostKeys), string(cmp.Or(v.Power, vm.On)), t.full, t.leaves, v.Held, v.Cheaper, micros(v.KeptUntil), labelsText(v.Labels), t.trouble,
		}
	}
	s.insert(`INSERT INTO vms (id, account_id, server_id, offer_id, provider_id, datacenter_id, name, spec, goal, generation,
		reached, state, since, reason, deadline, address, price, spent, epoch, created_at, activated_at, next_billing, ended_at, gone, epochs, settled, affinity_group,
		wish, known_as, key_id, limited, price_parts, gone_at, before, revert_at, protected, operation, asks, user_data, host_keys, power, full_parts, leaves, held, cheaper, kept_until, labels, trouble)`, lines)
	return nil
}

// UpdateVM writes all of v that can change. Its reserve is the ledger's, its labels
// are SetLabels'.
func (t *Tx) UpdateVM(ctx context.Context, v vm.VM) error {
	x, err := textsOf(v)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE vms SET name = ?, spec = ?, goal = ?, generation = ?, reached = ?, state = ?, since = ?, reason = ?,
		deadline = ?, spent = ?, activated_at = ?, next_billing = ?, ended_at = ?, gone = ?, epochs = ?, settled = ?, wish = ?, gone_at = ?,
		before = ?, revert_at = ?, protected = ?, operation = ?, asks = ?, user_data = ?, host_keys = ?,
		power = ?, price = ?, price_parts = ?, full_parts = ?, leaves = ?, held = ?, cheaper = ?, kept_until = ?, trouble = ? WHERE id = ?`,
		v.Name, x.spec, string(v.Goal), v.Generation, v.Reached, string(v.State), micros(v.Since), v.Reason,
		micros(v.Deadline), int64(v.Spent), micros(v.ActivatedAt), micros(v.NextBilling), micros(v.EndedAt), v.Gone, v.Epochs, v.Settled, v.Wish, micros(v.GoneAt),
		x.before, micros(v.RevertAt), v.Protected, v.Operation, x.asks, userDataText(v), hostKeysText(v.HostKeys),
		string(cmp.Or(v.Power, vm.On)), int64(v.Price), x.parts, x.full, x.leaves, v.Held, v.Cheaper, micros(v.KeptUntil), x.trouble, v.ID)
	return err
}

// MoveVM writes where a VM is and what it costs there, and all that UpdateVM
// does. What its server told of it stays on its timeline as it was.
func (t *Tx) MoveVM(ctx context.Context, v vm.VM) error {
	if _, err := t.exec(ctx, `UPDATE vm_events SET key = ? || key WHERE vm_id = ? AND key LIKE 'agent:%'`,
		fmt.Sprintf("before %d ", v.Generation), v.ID); err != nil {
		return err
	}
	if _, err := t.exec(ctx, `UPDATE vms SET server_id = ?, offer_id = ?, provider_id = ?, datacenter_id = ?, address = ? WHERE id = ?`,
		v.ServerID, v.OfferID, v.ProviderID, v.DatacenterID, v.Address.String(), v.ID); err != nil {
		return err
	}
	return t.UpdateVM(ctx, v)
}

// Left returns the numbers of the servers where launches of a VM failed.
func (t *Tx) Left(ctx context.Context, vmID string) (map[uint32]int, error) {
	return t.numbers(ctx, `SELECT s.number, COUNT(*) AS n FROM vms v JOIN servers s ON s.id = v.server_id
		WHERE v.known_as = ? AND v.known_as <> '' GROUP BY s.number ORDER BY s.number`, vmID)
}

// VM returns a VM, or a NotFound fault.
func (t *Tx) VM(ctx context.Context, id string) (vm.VM, error) {
	r, err := row[vmRow](ctx, t, "no VM with this id", `SELECT `+vmColumns+` FROM vms v WHERE v.id = ?`, id)
	if err != nil {
		return vm.VM{}, err
	}
	return r.vm()
}

// Filter narrows a list of VMs; the zero value of a member doesn't.
type Filter struct {
	AccountID    string
	IDs          []string
	States       []vm.State
	DatacenterID string
	EndedSince   time.Time // ended at this time or later
	Labels       vm.Selector
	Deleted      bool // the Stopped ones that are kept, in the place of all others
	Offset       int
	Limit        int
}

// present is the condition of VMs that are not over: not deleted, or not removed
// from their server yet. It is that of the index that they are found by.
const present = `NOT (v.state = 'Stopped' AND v.gone)`

// VMs returns the VMs that their customers can see, oldest first: all but the
// Stopped ones.
func (t *Tx) VMs(ctx context.Context, f Filter) ([]vm.VM, error) {
	query, args := f.query()
	return t.vms(ctx, query, args...)
}

func (f Filter) query() (query string, args []any) {
	where, args := []string{present, "v.state <> 'Stopped'"}, []any{}
	if f.Deleted {
		where = []string{"v.kept_until > 0"}
	}
	add := func(on bool, condition string, arg any) {
		if on {
			where, args = append(where, condition), append(args, arg)
		}
	}
	add(f.AccountID != "", "v.account_id = ?", f.AccountID)
	add(len(f.IDs) > 0, "v.id IN (?)", bun.List(f.IDs))
	add(len(f.States) > 0, "v.state IN (?)", bun.List(f.States))
	add(f.DatacenterID != "", "v.datacenter_id = ?", f.DatacenterID)
	add(!f.EndedSince.IsZero(), "v.ended_at >= ?", micros(f.EndedSince))
	chosen, more := labelled(f.Labels)
	where, args = append(where, chosen...), append(args, more...)
	query = `SELECT ` + vmColumns + ` FROM vms v WHERE ` + strings.Join(where, " AND ") + ` ORDER BY v.created_at, v.id`
	if f.Limit > 0 {
		query, args = query+` LIMIT ? OFFSET ?`, append(args, f.Limit, f.Offset)
	}
	return query, args
}

// ServerVMs returns the VMs that should be on a server, or are still to be
// removed from it, by id.
func (t *Tx) ServerVMs(ctx context.Context, serverID string) ([]vm.VM, error) {
	return t.vms(ctx, `SELECT `+vmColumns+` FROM vms v WHERE v.server_id = ? AND NOT v.gone ORDER BY v.id`, serverID)
}

// WaitingVMs returns the VMs of servers that wait for their agent: to be
// removed, or to be launched if they were made before a time.
func (t *Tx) WaitingVMs(ctx context.Context, serverIDs []string, before time.Time) ([]vm.VM, error) {
	return t.vms(ctx, `SELECT `+vmColumns+` FROM vms v WHERE v.server_id IN (?) AND NOT v.gone
		AND (v.goal = 'remove' OR v.state IN ('New', 'Launching') AND v.created_at <= ?) ORDER BY v.id`, bun.List(serverIDs), micros(before))
}

// TakenAddresses returns the addresses that VMs on a server have.
func (t *Tx) TakenAddresses(ctx context.Context, serverID string) (map[netip.Addr]bool, error) {
	list, err := rows[struct{ Address string }](ctx, t, `SELECT address FROM vms WHERE server_id = ? AND NOT gone ORDER BY address`, serverID)
	taken := make(map[netip.Addr]bool, len(list))
	for _, r := range list {
		a, err := netip.ParseAddr(r.Address)
		if err != nil {
			return nil, err
		}
		taken[a] = true
	}
	return taken, err
}

// Rested is an address that a VM had until a while ago, and whose it was.
type Rested struct {
	ServerID  string
	AccountID string // "" for what a failed launch left behind
	Address   netip.Addr
	Left      time.Time
}

// RestingAddresses returns the addresses of servers that VMs have left after a time.
func (t *Tx) RestingAddresses(ctx context.Context, servers []string, since time.Time) ([]Rested, error) {
	list, err := rows[struct {
		ServerID, AccountID, Address string
		GoneAt                       int64
	}](ctx, t, `SELECT server_id, account_id, address, gone_at FROM vms
		WHERE server_id IN (?) AND gone_at > ? AND gone_at > 0 ORDER BY server_id, gone_at, id`, bun.List(servers), micros(since))
	rested := make([]Rested, len(list))
	for i, r := range list {
		a, err := netip.ParseAddr(r.Address)
		if err != nil {
			return nil, err
		}
		rested[i] = Rested{r.ServerID, r.AccountID, a, at(r.GoneAt)}
	}
	return rested, err
}

// NextDue returns when the next thing of a VM, an operation, a quote, a drain or an account's
// funds falls due; the zero time when nothing does.
func (t *Tx) NextDue(ctx context.Context) (time.Time, error) {
	r, err := row[struct{ At int64 }](ctx, t, "", `SELECT COALESCE(MIN(at), 0) AS at FROM (
		SELECT MIN(next_billing) AS at FROM vms WHERE next_billing > 0
		UNION ALL SELECT MIN(deadline) FROM vms WHERE deadline > 0
		UNION ALL SELECT MIN(expires_at) FROM quotes WHERE ended_at = 0
		UNION ALL SELECT MIN(revert_at) FROM vms WHERE revert_at > 0
		UNION ALL SELECT MIN(deadline) FROM operations WHERE ended_at = 0
		UNION ALL SELECT MIN(until) FROM vm_disks WHERE until > 0 AND NOT purging
		UNION ALL SELECT MIN(look_at) FROM account_funds WHERE look_at > 0
		UNION ALL SELECT MIN(drain_deadline) FROM servers WHERE drain_deadline > 0) due WHERE at IS NOT NULL`)
	return at(r.At), err
}

// OverdueVMs returns the ids of up to limit VMs whose deadline has passed,
// longest waiting first.
func (t *Tx) OverdueVMs(ctx context.Context, now time.Time, limit int) ([]string, error) {
	list, err := rows[struct{ ID string }](ctx, t,
		`SELECT id FROM vms WHERE deadline > 0 AND deadline <= ? ORDER BY deadline, id LIMIT ?`, micros(now), limit)
	return convert(list, func(r struct{ ID string }) string { return r.ID }), err
}

// KeptVMs returns the ids of up to limit VMs that were deleted and are kept no longer
// than a time, longest first.
func (t *Tx) KeptVMs(ctx context.Context, until time.Time, limit int) ([]string, error) {
	list, err := rows[struct{ ID string }](ctx, t,
		`SELECT id FROM vms WHERE kept_until > 0 AND kept_until <= ? ORDER BY kept_until, id LIMIT ?`, micros(until), limit)
	return convert(list, func(r struct{ ID string }) string { return r.ID }), err
}

// UnconfirmedVMs returns the ids of up to limit VMs whose ports are to be changed
// back, longest waiting first.
func (t *Tx) UnconfirmedVMs(ctx context.Context, now time.Time, limit int) ([]string, error) {
	list, err := rows[struct{ ID string }](ctx, t,
		`SELECT id FROM vms WHERE revert_at > 0 AND revert_at <= ? ORDER BY revert_at, id LIMIT ?`, micros(now), limit)
	return convert(list, func(r struct{ ID string }) string { return r.ID }), err
}

func (t *Tx) vms(ctx context.Context, query string, args ...any) ([]vm.VM, error) {
	list, err := rows[vmRow](ctx, t, query, args...)
	if err != nil {
		return nil, err
	}
	out := make([]vm.VM, len(list))
	for i, r := range list {
		if out[i], err = r.vm(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Money returns what the reserves of an account's VMs hold, and what all VMs it
// ever had were charged.
func (t *Tx) Money(ctx context.Context, accountID string) (reserved, spent money.Amount, err error) {
	r, err := row[struct {
		Reserved int64
		Spent    int64
	}](ctx, t, "no such account", `SELECT CAST(COALESCE(SUM(b.amount), 0) AS BIGINT) AS reserved, CAST(COALESCE(SUM(v.spent), 0) AS BIGINT) AS spent
		FROM vms v LEFT JOIN balances b ON b.account = 'vm:' || v.id WHERE v.account_id = ? AND `+present, accountID)
	if err != nil {
		return 0, 0, err
	}
	over, err := row[struct{ Spent int64 }](ctx, t, "", `SELECT CAST(COALESCE(SUM(spent), 0) AS BIGINT) AS spent
		FROM vms WHERE account_id = ? AND state = 'Stopped' AND gone`, accountID)
	return money.Amount(r.Reserved), money.Amount(r.Spent + over.Spent), err
}

// PutEvent writes a line of a VM's timeline. A line with the same key gets the
// new text and keeps its time and place.
func (t *Tx) PutEvent(ctx context.Context, vmID string, e vm.Event) error {
	_, err := t.exec(ctx, `INSERT INTO vm_events (vm_id, key, n, at, text)
		VALUES (?, ?, (SELECT COUNT(*) FROM vm_events WHERE vm_id = ?), ?, ?)
		ON CONFLICT (vm_id, key) DO UPDATE SET text = excluded.text WHERE vm_events.text <> excluded.text`,
		vmID, e.Key, vmID, micros(e.At), e.Text)
	return err
}

type eventRow struct {
	Key  string
	At   int64
	Text string
}

func (r eventRow) event() vm.Event { return vm.Event{At: at(r.At), Key: r.Key, Text: r.Text} }

// Events returns a VM's timeline, oldest first.
func (t *Tx) Events(ctx context.Context, vmID string) ([]vm.Event, error) {
	list, err := rows[eventRow](ctx, t, `SELECT key, at, text FROM vm_events WHERE vm_id = ? ORDER BY at, n`, vmID)
	return convert(list, eventRow.event), err
}

// Load returns how many VMs of an account are on each server, by the server's
// number.
func (t *Tx) Load(ctx context.Context, accountID string) (map[uint32]int, error) {
	return t.numbers(ctx, `SELECT s.number, COUNT(*) AS n FROM vms v JOIN servers s ON s.id = v.server_id
		WHERE v.account_id = ? AND `+present+` AND NOT v.gone GROUP BY s.number ORDER BY s.number`, accountID)
}

// AffinityServers returns how many VMs of an account's group are on each
// server, by the server's number.
func (t *Tx) AffinityServers(ctx context.Context, accountID, group string) (map[uint32]int, error) {
	return t.numbers(ctx, `SELECT s.number, COUNT(*) AS n FROM vms v JOIN servers s ON s.id = v.server_id
		WHERE v.account_id = ? AND v.affinity_group = ? AND v.affinity_group <> '' AND NOT v.gone GROUP BY s.number ORDER BY s.number`, accountID, group)
}

func (t *Tx) numbers(ctx context.Context, query string, args ...any) (map[uint32]int, error) {
	list, err := rows[struct {
		Number uint32
		N      int
	}](ctx, t, query, args...)
	out := make(map[uint32]int, len(list))
	for _, r := range list {
		out[r.Number] = r.N
	}
	return out, err
}
