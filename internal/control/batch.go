package control

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
)

// batch is what one transaction stores for a group of orders: each is checked
// and placed in memory, then all are written by few statements.
type batch struct {
	*Service
	tx  *store.Tx
	now time.Time

	free     map[string]money.Amount // balances by account
	budget   budget
	answers  map[answerKey]store.Answer // to requests that were seen before
	taken    []market.Placement         // out of the index, to be given back should the transaction fail
	revision int64

	resting  map[uint32]time.Time // servers whose free addresses rest, until when the first does: nothing is placed there
	careful  bool                 // look at what addresses are taken before choosing
	rehearse bool                 // nothing is taken out of the index
	accepted []acceptance
	orders   store.Orders
	takings  map[uint32]*store.Taking
	cursors  map[uint32]netip.Addr // the address given out last
}

// acceptance is an order that was accepted, and the places of its VMs.
type acceptance struct {
	*order
	placed []market.Placement
}

type answerKey struct{ account, request string }

// read reads what the orders of a group need.
func (b *batch) read(ctx context.Context, group []*order) error {
	sheet, err := b.tx.Sheet(ctx, payers(group)...)
	if err != nil {
		return err
	}
	b.takings, b.cursors = map[uint32]*store.Taking{}, map[uint32]netip.Addr{}
	b.free, b.answers = map[string]money.Amount{}, map[answerKey]store.Answer{}
	var asked []store.Answer
	for _, o := range group {
		b.free[o.who.AccountID] = sheet.Holds(ledger.Customer(o.who.AccountID))
		if o.wish.RequestID != "" {
			asked = append(asked, store.Answer{AccountID: o.who.AccountID, Key: o.wish.RequestID})
		}
	}
	kept, err := b.tx.Answers(ctx, asked)
	for _, a := range kept {
		b.answers[answerKey{a.AccountID, a.Key}] = a
	}
	if err != nil {
		return err
	}
	actors := make([]account.Actor, len(group))
	for i, o := range group {
		actors[i] = o.who
	}
	b.budget, err = b.budgetOf(ctx, b.tx, b.now, actors...)
	return err
}

// payers returns the accounts that the orders of a group are paid from.
func payers(group []*order) []ledger.Account {
	accounts := make([]ledger.Account, len(group))
	for i, o := range group {
		accounts[i] = ledger.Customer(o.who.AccountID)
	}
	slices.Sort(accounts)
	return slices.Compact(accounts)
}

// admit chooses places for an order and takes its deposit, in memory. Its
// refusal is the order's err; an error returned is that of the whole group.
func (b *batch) admit(ctx context.Context, o *order) error {
	if o.wish.RequestID != "" {
		if kept, seen := b.answers[answerKey{o.who.AccountID, o.wish.RequestID}]; seen {
			o.made, o.err = repeat(kept, o)
			return nil
		}
	}
	placed, err := b.places(ctx, o)
	err = firstError(o.noKeys, err)
	if err == nil && slices.ContainsFunc(placed, func(p market.Placement) bool { return !b.resting[p.Server].IsZero() }) { // by a quote
		err = fault.Newf(fault.Unavailable, "the free addresses of the server rest for up to %s after the VMs that had them; try again later", b.AddressRest)
	}
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
		b.take(placed)
	} else if _, err := b.tx.EndQuote(ctx, o.wish.QuoteID, b.now); err != nil {
		return err
	}
	b.accepted = append(b.accepted, acceptance{o, placed})
	return b.name(o)
}

// take takes places out of the index.
func (b *batch) take(placed []market.Placement) {
	if b.rehearse {
		return
	}
	b.shelf.Take(placed)
	b.taken = append(b.taken, placed...)
}

// undo forgets what a transaction that did not last has left in memory.
func (b *batch) undo() {
	b.shelf.GiveBack(b.taken)
	clear(b.shelf.sites)
	b.loads = loads{}
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
		return o.fits(b.quoted(ctx, o))
	}
	o.placing = placing{o.wish.Constraints, o.wish.Strategy}
	return o.fits(b.choose(ctx, o.who.AccountID, o.wish.AffinityGroup, o.only(o.wish.request())))
}

// request returns what a deployment asks of the index.
func (d Deployment) request() market.Request {
	return market.Request{Constraints: d.Constraints, Instances: int(d.Instances), Strategy: d.Strategy, Avoid: map[uint32]bool{}}
}

// choose chooses places out of the index for an account's VMs, kept apart from
// those of their affinity group.
func (b *batch) choose(ctx context.Context, accountID, group string, r market.Request) ([]market.Placement, error) {
	if group != "" {
		there, err := b.tx.AffinityServers(ctx, accountID, group)
		if err != nil {
			return nil, err
		}
		r.Apart = true
		for number := range there {
			r.Avoid[number] = true
		}
		for _, a := range b.accepted { // in the same group of orders, not stored yet
			if a.who.AccountID == accountID && a.wish.AffinityGroup == group {
				for _, p := range a.placed {
					r.Avoid[p.Server] = true
				}
			}
		}
	}
	apart := r.Avoid
	if len(b.resting) > 0 {
		r.Avoid = maps.Clone(apart)
	}
	for number := range b.resting {
		r.Avoid[number] = true
	}
	load, err := b.loads.of(ctx, b.tx, accountID, b.now)
	if err != nil {
		return nil, err
	}
	r.Load = func(number uint32) int { return load[number] }
	placed, err := b.shelf.Place(r)
	if fault.Is(err, fault.Unsatisfiable) && len(b.resting) > 0 {
		r.Avoid = apart
		return nil, b.whyNothing(r, err)
	}
	for _, p := range placed {
		load[p.Server]++
	}
	return placed, err
}

// afford takes the deposit out of the balance and the rent out of what limits
// leave, or says in full what is missing.
func (b *batch) afford(o *order, placed []market.Placement) error {
	cost, err := estimate(placed)
	if err != nil {
		return err
	}
	spends := useOf(cost.Total, b.Epoch)
	if err := b.budget.allows(o.who, spends); err != nil {
		return err
	}
	free := b.free[o.who.AccountID]
	if free < cost.Deposit {
		return fault.Newf(fault.Unaffordable, "the deposit is %s USDC (two epochs at %s), the balance is %s USDC; %s USDC are missing",
			cost.Deposit, cost.Total, free, cost.Deposit-free)
	}
	b.free[o.who.AccountID] = free - cost.Deposit
	b.budget.spend(o.who, spends)
	o.plan = Plan{Estimate: cost, Left: free - cost.Deposit}
	return nil
}

// write stores what was accepted.
func (b *batch) write(ctx context.Context) error {
	if len(b.accepted) == 0 {
		return nil
	}
	var placed []market.Placement
	for _, a := range b.accepted {
		placed = append(placed, a.placed...)
	}
	if err := b.visit(ctx, placed); err != nil {
		return err
	}
	for _, a := range b.accepted {
		if err := b.accept(a); err != nil {
			return err
		}
	}
	if err := b.settleAddresses(ctx); err != nil {
		return err
	}
	takings := make([]store.Taking, 0, len(b.takings))
	for _, number := range slices.Sorted(maps.Keys(b.takings)) {
		takings = append(takings, *b.takings[number])
	}
	b.tx.Take(takings)
	if err := b.tx.StoreOrders(ctx, b.orders); err != nil {
		return err
	}
	for number, taking := range b.takings {
		where := b.shelf.sites[number]
		where.Last = taking.Address
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
