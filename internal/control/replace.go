package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// mostReplacements is how often a VM that could not be launched is placed on
// another server before its customer gets the deposit back.
const mostReplacements = 3

// placing is what a customer asked of a VM's place. It is kept with the VM until
// that runs, should it need another one.
type placing struct {
	market.Constraints
	Strategy market.Strategy `json:",omitempty"`
}

// text is how placing is kept.
func (p placing) text() (string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("encode what was asked of a place: %w", err)
	}
	return string(text), nil
}

// replace places a VM that could not be launched on another server, by the
// deposit that it has: for at most the same price, in the same configuration, and
// as its customer wanted it. What the launch left behind is to be removed from
// its server, and holds its place there until that is done. It is false when the
// VM was placed often enough, or fits nowhere else. The caller holds filling and
// has brought the index up to tx.
func (b *batch) replace(ctx context.Context, v vm.VM, why string) (replaced bool, rung []string, err error) {
	if !v.State.Starting() || !v.ActivatedAt.IsZero() || v.Wish == "" || v.From != "" && !vm.IsExport(v.From) { // a snapshot is on one server alone
		return false, nil, nil
	}
	p, tries, err := b.elsewhere(ctx, v)
	if err != nil || p == nil {
		return false, nil, err
	}
	leftID, err := id.NewVM(b.now, b.Rand)
	if err != nil {
		return false, nil, err
	}
	was, left := v, leftBehind(v, leftID, why, b.now)
	if err := b.visit(ctx, []market.Placement{*p}); err != nil {
		return false, nil, err
	}
	where := b.shelf.sites[p.Server]
	taken, err := b.tx.TakenAddresses(ctx, where.ID)
	if err != nil {
		return false, nil, err
	}
	resting, err := b.restingOn(ctx, []string{where.ID})
	if err != nil {
		return false, nil, err
	}
	v.Address, err = market.NextAddress(where.Pool, where.Last, func(a netip.Addr) bool {
		return taken[a] || resting.keeps(where.ID, v.AccountID, a)
	})
	if fault.Is(err, fault.Unsatisfiable) {
		return false, nil, nil // its free addresses rest
	}
	if err != nil {
		return false, nil, err
	}
	v.ServerID, v.OfferID, v.ProviderID, v.DatacenterID, v.Price = where.ID, p.Offer.ID, p.Offer.ProviderID, p.Offer.Datacenter.ID, p.Price
	v.Parts = partsOf(*p)
	v.Trouble = vm.Trouble{} // of the server that it leaves
	v.Full = v.Parts
	v.State, v.Reason, v.Since, v.Deadline = vm.Next(v.State, vm.Replaced), "waiting for its server", b.now, b.now.Add(b.Launch)
	v.Generation++
	text := fmt.Sprintf("%s; placed on another server in %s at %s USDC per epoch, by the same deposit (%d of %d)",
		why, p.Offer.Datacenter.Slug(), v.Price, tries+1, mostReplacements)
	rung = []string{"vm:" + v.ID, "server:" + was.ServerID, "server:" + v.ServerID}
	return true, rung, firstErrorOf(
		func() error { return b.tx.MoveVM(ctx, v) },
		func() error { return b.tx.InsertVM(ctx, left) },
		func() error { return b.tx.Revise(ctx, was.ServerID) },
		func() error {
			b.tx.Take([]store.Taking{{Server: where.ID, Amount: p.Demand(), Address: v.Address, Ordered: true}})
			return b.returnDifference(ctx, v, was.Price-v.Price)
		},
		func() error { return b.tx.PutEvent(ctx, v.ID, b.happened("placed", b.now, text)) },
	)
}

// elsewhere returns another place for a VM, nil when there is none, and how often
// it was placed anew before.
func (b *batch) elsewhere(ctx context.Context, v vm.VM) (*market.Placement, int, error) {
	var wanted placing
	if err := json.Unmarshal([]byte(v.Wish), &wanted); err != nil {
		return nil, 0, fmt.Errorf("read what was asked of the place of %s: %w", v.ID, err)
	}
	tried, err := b.tx.Left(ctx, v.ID)
	if err != nil || len(tried) >= mostReplacements {
		return nil, 0, err
	}
	server, err := b.tx.Server(ctx, v.ServerID)
	if err != nil {
		return nil, 0, err
	}
	price := v.Price
	wanted.MaxPrice = &price
	avoid := map[uint32]bool{uint32(server.Number): true} //nolint:gosec // numbers of servers are 32 bits
	for number := range tried {
		avoid[number] = true
	}
	placed, err := b.choose(ctx, v.AccountID, v.AffinityGroup, market.Request{
		Constraints: wanted.Constraints, Instances: 1, Strategy: wanted.Strategy, Avoid: avoid,
	})
	if fault.Is(err, fault.Unsatisfiable) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return &placed[0], len(tried), nil
}

// leftBehind returns what a failed launch of v left on its server, to be removed
// from there as v is wanted elsewhere.
func leftBehind(v vm.VM, id, why string, now time.Time) vm.VM {
	return vm.VM{
		ID: id, KnownAs: v.ID, ServerID: v.ServerID, OfferID: v.OfferID, ProviderID: v.ProviderID, DatacenterID: v.DatacenterID,
		Name: v.Name, Spec: v.Spec, Goal: vm.Remove, Generation: v.Generation + 1, Reached: v.Reached,
		State: vm.Failed, Since: now, Reason: why, Address: v.Address, Epoch: v.Epoch, CreatedAt: v.CreatedAt, EndedAt: now,
	}
}

// returnDifference returns to a VM's customer what its new place needs less of
// deposit.
func (b *batch) returnDifference(ctx context.Context, v vm.VM, cheaper money.Amount) error {
	if cheaper == 0 {
		return nil
	}
	part, err := ledger.DepositFor(cheaper)
	if err != nil {
		return err
	}
	_, err = b.tx.Post(ctx, ledger.Difference(b.now, v.AccountID, v.ID, part, v.Generation))
	return err
}
