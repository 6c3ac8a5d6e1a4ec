package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// batch is what one transaction stores for a group of orders: each is checked
// and placed in memory, then all are written by few statements.
type batch struct {
	*Service
	tx  *store.Tx
	now time.Time

	free     map[string]money.Amount    // balances by account
	answers  map[answerKey]store.Answer // to requests that were seen before
	taken    []market.Placement         // out of the index, to be given back should the transaction fail
	revision int64

	careful bool // look at what addresses are taken before choosing
	orders  store.Orders
	takings map[uint32]*store.Taking
	cursors map[uint32]netip.Addr // the address given out last
}

type answerKey struct{ account, request string }

// site is what placing a VM needs to know of a server.
type site struct {
	id   string
	pool netip.Prefix
	last netip.Addr
}

// read reads what the orders of a group need.
func (b *batch) read(ctx context.Context, group []*order) error {
	b.takings, b.cursors = map[uint32]*store.Taking{}, map[uint32]netip.Addr{}
	accounts, asked := map[ledger.Account]bool{}, []store.Answer{}
	for _, o := range group {
		accounts[ledger.Customer(o.who.AccountID)] = true
		if o.wish.RequestID != "" {
			asked = append(asked, store.Answer{AccountID: o.who.AccountID, Key: o.wish.RequestID})
		}
	}
	balances, err := b.tx.Balances(ctx, slices.Sorted(maps.Keys(accounts)))
	if err != nil {
		return err
	}
	b.free = map[string]money.Amount{}
	for _, o := range group {
		b.free[o.who.AccountID] = balances[ledger.Customer(o.who.AccountID)]
	}
	kept, err := b.tx.Answers(ctx, asked)
	b.answers = map[answerKey]store.Answer{}
	for _, a := range kept {
		b.answers[answerKey{a.AccountID, a.Key}] = a
	}
	return err
}

// admit places one order. Its refusal is the order's err; an error returned is
// that of the whole group.
func (b *batch) admit(ctx context.Context, o *order) error {
	if o.wish.RequestID != "" {
		if kept, seen := b.answers[answerKey{o.who.AccountID, o.wish.RequestID}]; seen {
			o.made, o.err = repeat(kept, o)
			return nil
		}
	}
	placed, err := b.places(ctx, o)
	err = firstError(o.noKeys, err)
	if err == nil {
		err = b.afford(o, placed)
	}
	if err != nil {
		if fault.KindOf(err) == fault.Internal {
			return err
		}
		o.err = err
		return nil
	}
	if o.wish.QuoteID == "" {
		b.shelf.Take(placed)
		b.taken = append(b.taken, placed...)
	} else if _, err := b.tx.EndQuote(ctx, o.wish.QuoteID, b.now); err != nil {
		return err
	}
	return b.accept(ctx, o, placed)
}

// repeat answers a request that was answered before.
func repeat(kept store.Answer, o *order) (made []Deployed, err error) {
	if kept.Request != o.digest {
		return nil, fault.Newf(fault.Conflict, "request id %q was used for another request", o.wish.RequestID)
	}
	return made, json.Unmarshal([]byte(kept.Answer), &made)
}

// places chooses the places of an order's VMs.
func (b *batch) places(ctx context.Context, o *order) ([]market.Placement, error) {
	if o.wish.QuoteID != "" {
		return b.quoted(ctx, o)
	}
	return b.choose(ctx, o.who.AccountID, o.wish)
}

// choose chooses places out of the index.
func (b *batch) choose(ctx context.Context, accountID string, d Deployment) ([]market.Placement, error) {
	r := market.Request{Constraints: d.Constraints, Instances: int(d.Instances), Strategy: d.Strategy}
	if d.AffinityGroup != "" {
		there, err := b.tx.AffinityServers(ctx, accountID, d.AffinityGroup)
		if err != nil {
			return nil, err
		}
		r.Apart, r.Avoid = true, map[uint32]bool{}
		for number := range there {
			r.Avoid[number] = true
		}
		for i := range b.orders.VMs { // of the same group of orders, not stored yet
			if v := &b.orders.VMs[i]; v.AccountID == accountID && v.AffinityGroup == d.AffinityGroup {
				r.Avoid[b.numberOf(v.ServerID)] = true
			}
		}
	}
	load, err := b.loads.of(ctx, b.tx, accountID, b.now)
	if err != nil {
		return nil, err
	}
	r.Load = func(number uint32) int { return load[number] }
	placed, err := b.shelf.Place(r)
	for _, p := range placed {
		load[p.Server]++
	}
	return placed, err
}

func (b *batch) numberOf(serverID string) uint32 {
	for number, taking := range b.takings {
		if taking.Server == serverID {
			return number
		}
	}
	return 0
}

// afford takes the deposit out of the balance, or says in full what is missing.
func (b *batch) afford(o *order, placed []market.Placement) error {
	cost, err := estimate(placed)
	if err != nil {
		return err
	}
	free := b.free[o.who.AccountID]
	if free < cost.Deposit {
		return fault.Newf(fault.Unaffordable, "the deposit is %s USDC (two epochs at %s), the balance is %s USDC; %s USDC are missing",
			cost.Deposit, cost.Total, free, cost.Deposit-free)
	}
	b.free[o.who.AccountID] = free - cost.Deposit
	return nil
}

// accept notes all that an accepted order writes.
func (b *batch) accept(ctx context.Context, o *order, placed []market.Placement) error {
	if err := b.visit(ctx, placed); err != nil {
		return err
	}
	draft := b.draft(o)
	seen := map[string]bool{}
	o.made = make([]Deployed, 0, len(placed))
	for _, p := range placed {
		v, err := b.placed(draft, p)
		if err != nil {
			return err
		}
		hold, err := ledger.Reservation(v.CreatedAt, v.AccountID, v.ID, v.Price)
		if err != nil {
			return err
		}
		if hold.Amount > 0 { // a provider may give VMs away
			b.orders.Entries = append(b.orders.Entries, hold)
		}
		b.orders.VMs = append(b.orders.VMs, v)
		b.orders.Events = append(b.orders.Events, store.EventOf{VM: v.ID, Event: vm.Event{At: v.CreatedAt, Key: "accepted", Text: fmt.Sprintf(
			"accepted at %s USDC per epoch and placed in %s; a deposit of %s USDC is reserved", v.Price, p.Offer.Datacenter.Slug(), hold.Amount)}})
		o.made = append(o.made, Deployed{ID: v.ID, Name: v.Name})
		b.note(p, v, o.wish.QuoteID == "")
		if !seen[v.ServerID] {
			seen[v.ServerID] = true
			o.servers = append(o.servers, v.ServerID)
		}
	}
	return b.remember(o)
}

// visit makes sure that the sites of the places are known.
func (b *batch) visit(ctx context.Context, placed []market.Placement) error {
	var unknown []int64
	for _, p := range placed {
		if _, known := b.shelf.sites[p.Server]; !known {
			unknown = append(unknown, int64(p.Server))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	servers, err := b.tx.ServersByNumber(ctx, slices.Compact(unknown))
	if err != nil {
		return err
	}
	for _, server := range servers {
		b.shelf.sites[uint32(server.Number)] = site{server.ID, server.Inventory.Pool, server.LastAddress} //nolint:gosec // numbers count servers
	}
	return nil
}

// draft returns what all VMs of an order have in common.
func (b *batch) draft(o *order) vm.VM {
	d := o.wish
	return vm.VM{
		AccountID: o.who.AccountID, Name: d.Name, AffinityGroup: d.AffinityGroup,
		Spec: vm.Spec{Hostname: d.Hostname, Image: d.Image, SSHKeys: o.keys, Ports: d.Ports},
		Goal: vm.Run, Generation: 1, State: vm.New, Since: b.now, Reason: "waiting for its server", Deadline: b.now.Add(b.Launch),
		Epoch: b.Epoch, CreatedAt: b.now,
	}
}

// placed returns the draft as one VM at its place; its address is given when
// all are placed.
func (b *batch) placed(draft vm.VM, p market.Placement) (v vm.VM, err error) {
	where, known := b.shelf.sites[p.Server]
	if !known {
		return v, fmt.Errorf("server %d of the index is not in the store", p.Server)
	}
	v = draft
	v.ServerID, v.OfferID, v.ProviderID, v.DatacenterID = where.id, p.Offer.ID, p.Offer.ProviderID, p.Offer.Datacenter.ID
	v.Spec.VCPU, v.Spec.RAMGiB, v.Spec.StorageGiB = p.Configuration.VCPU, p.Configuration.RAMGiB, p.StorageGiB
	v.Price = p.Price
	last, begun := b.cursors[p.Server]
	if !begun {
		last = where.last
	}
	if v.Address, err = market.NextAddress(where.pool, last, func(netip.Addr) bool { return false }); err != nil {
		return v, err
	}
	b.cursors[p.Server] = v.Address
	v.ID, err = id.NewVM(b.now, b.Rand)
	return v, err
}

// note adds a VM to what is taken of its server.
func (b *batch) note(p market.Placement, v vm.VM, take bool) {
	taking := b.takings[p.Server]
	if taking == nil {
		taking = &store.Taking{Server: v.ServerID, Ordered: true}
		b.takings[p.Server] = taking
	}
	amount := p.Demand()
	if !take {
		amount = capacity.Vector{} // its quote has
	}
	taking.Amount, taking.Address = taking.Amount.Add(amount), v.Address
}

// remember keeps the answer to a request that may be repeated, in the same
// group too.
func (b *batch) remember(o *order) error {
	if o.wish.RequestID == "" {
		return nil
	}
	answer, err := json.Marshal(o.made)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	kept := store.Answer{AccountID: o.who.AccountID, Key: o.wish.RequestID, Request: o.digest, Answer: string(answer), CreatedAt: b.now}
	b.orders.Answers = append(b.orders.Answers, kept)
	b.answers[answerKey{kept.AccountID, kept.Key}] = kept
	return nil
}

// write stores all that was noted.
func (b *batch) write(ctx context.Context) error {
	if len(b.orders.VMs) == 0 {
		return nil
	}
	if err := b.settleAddresses(ctx); err != nil {
		return err
	}
	takings := make([]store.Taking, 0, len(b.takings))
	for _, number := range slices.Sorted(maps.Keys(b.takings)) {
		takings = append(takings, *b.takings[number])
	}
	if err := b.tx.TakeAll(ctx, takings); err != nil {
		return err
	}
	if err := b.tx.StoreOrders(ctx, b.orders); err != nil {
		return err
	}
	for number, taking := range b.takings {
		where := b.shelf.sites[number]
		where.last = taking.Address
		b.shelf.sites[number] = where
	}
	b.revision = b.tx.Revised()
	return nil
}

// firstErrorOf runs steps until one fails.
func firstErrorOf(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// settleAddresses looks at what addresses are taken, and gives each VM one that
// is free. It is left out at first: the next one of a pool is free unless the
// pool has been gone through once, and where it is not, the store says so.
func (b *batch) settleAddresses(ctx context.Context) error {
	if !b.careful {
		return nil
	}
	numbers := map[string]uint32{}
	for number, taking := range b.takings {
		numbers[taking.Server] = number
	}
	taken, last := map[string]map[netip.Addr]bool{}, map[string]netip.Addr{}
	for i := range b.orders.VMs {
		v := &b.orders.VMs[i]
		where := b.shelf.sites[numbers[v.ServerID]]
		if taken[v.ServerID] == nil {
			there, err := b.tx.TakenAddresses(ctx, v.ServerID)
			if err != nil {
				return err
			}
			taken[v.ServerID], last[v.ServerID] = there, where.last
		}
		var err error
		v.Address, err = market.NextAddress(where.pool, last[v.ServerID], func(a netip.Addr) bool { return taken[v.ServerID][a] })
		if err != nil {
			return err
		}
		taken[v.ServerID][v.Address], last[v.ServerID] = true, v.Address
		b.takings[numbers[v.ServerID]].Address = v.Address
	}
	return nil
}
