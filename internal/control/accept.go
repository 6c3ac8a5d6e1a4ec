package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// name gives an accepted order the ids of its VMs, and keeps its answer if it may
// be repeated, in the same group too.
func (b *batch) name(o *order) error {
	o.made = make([]Deployed, o.wish.Instances)
	for i := range o.made {
		vmID, err := id.NewVM(b.now, b.Rand)
		if err != nil {
			return err
		}
		o.made[i] = Deployed{ID: vmID, Name: o.wish.Name}
	}
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

// accept notes all that an accepted order writes.
func (b *batch) accept(a acceptance) error {
	draft, err := b.draft(a)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, p := range a.placed {
		v, err := b.placed(draft, p)
		if err != nil {
			return err
		}
		v.ID, v.Limited = a.made[i].ID, b.budget.limits(a.who)
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
		b.note(p, v, a.wish.QuoteID == "")
		if !seen[v.ServerID] {
			seen[v.ServerID] = true
			a.servers = append(a.servers, v.ServerID)
		}
	}
	return nil
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
	found, err := b.tx.Sites(ctx, slices.Compact(unknown))
	maps.Copy(b.shelf.sites, found)
	return err
}

// draft returns what all VMs of an order have in common.
func (b *batch) draft(a acceptance) (vm.VM, error) {
	d, asked := a.wish, a.placing
	asked.Configuration = a.placed[0].Configuration.Slug() // all are in the same one
	wish, err := asked.text()
	var asks vm.Asks
	image := d.Image
	if a.source != nil {
		asks.From, image = a.source.id, a.source.image
	}
	return vm.VM{
		Asks:      asks,
		AccountID: a.who.AccountID, KeyID: a.who.KeyID, Name: d.Name, AffinityGroup: d.AffinityGroup,
		Spec:     vm.Spec{Hostname: d.Hostname, Image: image, ImageChecksum: d.ImageChecksum, SSHKeys: a.keys, Ports: d.Ports},
		UserData: d.UserData, Labels: d.Labels,
		Goal: vm.Run, Power: vm.On, Generation: 1, State: vm.New, Since: b.now, Reason: "waiting for its server", Deadline: b.now.Add(b.Launch),
		Epoch: b.Epoch, CreatedAt: b.now, Wish: wish,
	}, err
}

// placed returns the draft as one VM at its place; its address is given when
// all are placed.
func (b *batch) placed(draft vm.VM, p market.Placement) (v vm.VM, err error) {
	where, known := b.shelf.sites[p.Server]
	if !known {
		return v, fmt.Errorf("server %d of the index is not in the store", p.Server)
	}
	v = draft
	v.ServerID, v.OfferID, v.ProviderID, v.DatacenterID = where.ID, p.Offer.ID, p.Offer.ProviderID, p.Offer.Datacenter.ID
	v.Spec.VCPU, v.Spec.RAMGiB, v.Spec.StorageGiB = p.Configuration.VCPU, p.Configuration.RAMGiB, p.StorageGiB
	v.Price, v.Parts = p.Price, partsOf(p)
	v.Full = v.Parts
	last, begun := b.cursors[p.Server]
	if !begun {
		last = where.Last
	}
	v.Address, err = market.NextAddress(where.Pool, last, func(netip.Addr) bool { return false })
	b.cursors[p.Server] = v.Address
	return v, err
}

// partsOf returns what of a place's price is for which resource. A quote's price
// may be from before the offer's changed: it is in proportion then.
func partsOf(p market.Placement) vm.Parts {
	parts := vm.Parts(p.Offer.Prices.Parts(p.Demand()))
	if p.Offer.Prices.Of(p.Demand()) != p.Price {
		copy(parts[:], p.Price.Split(parts[:]...))
	}
	return parts
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

// settleAddresses looks at what addresses are taken, and gives each VM one that
// is free. What is taken is not looked at at first: the next one of a pool is free
// unless the pool has been gone through once, and where it is not, the store says
// so. Returns a restingError for a server whose free addresses all rest.
func (b *batch) settleAddresses(ctx context.Context) error {
	numbers := map[string]uint32{}
	for number, taking := range b.takings {
		numbers[taking.Server] = number
	}
	resting, err := b.restingOn(ctx, slices.Sorted(maps.Keys(numbers)))
	if err != nil || !b.careful && !slices.ContainsFunc(b.orders.VMs, resting.has) {
		return err
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
			taken[v.ServerID], last[v.ServerID] = there, where.Last
		}
		var err error
		v.Address, err = market.NextAddress(where.Pool, last[v.ServerID], func(a netip.Addr) bool {
			return taken[v.ServerID][a] || resting.keeps(v.ServerID, v.AccountID, a)
		})
		if fault.Is(err, fault.Unsatisfiable) && len(resting[v.ServerID]) > 0 {
			return restingError{numbers[v.ServerID], resting.soonest(v.ServerID)}
		}
		if err != nil {
			return err
		}
		taken[v.ServerID][v.Address], last[v.ServerID] = true, v.Address
		b.takings[numbers[v.ServerID]].Address = v.Address
	}
	return nil
}
