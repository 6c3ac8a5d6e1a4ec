package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Size is what a VM is to have.
type Size struct {
	Configuration string        // such as cpu-4-ram-8gb-storage-25gb; "" for the vCPUs and memory that it has
	StorageGiB    int64         // of its disk; 0 for what the configuration has, or it has now if that is more
	MaxPrice      *money.Amount // that an epoch may cost then; nil for no more than it costs now
}

// Resize gives a VM another size on its server, at the prices that its offer asks now. One
// that runs is restarted for it. Returns Invalid for a size that can't be, or
// that its disk doesn't fit in, Unsatisfiable when it would cost more than is agreed to,
// and the faults of alter.
func (s *Service) Resize(size Size) Amendment {
	return func(ctx context.Context, tx *store.Tx, v *vm.VM) error {
		if err := s.knowTerms(ctx, tx, v); err != nil {
			return err
		}
		offer, err := tx.Offer(ctx, v.OfferID)
		if err != nil {
			return err
		}
		spec, err := size.of(v.Spec, offer)
		if err != nil {
			return err
		}
		if spec.Demand() == v.Spec.Demand() {
			return fault.New(fault.Conflict, "the VM has this size already")
		}
		now := *v
		change := func(v *vm.VM) {
			if v.Power != vm.Off {
				v.Leaves, v.Restart, v.Abrupt = v.Spec.Demand(), v.Generation, false
			}
			v.Spec, v.Full = spec, vm.Parts(offer.Prices.Parts(spec.Demand()))
		}
		change(&now)
		price, agreed := now.Rate().Sum(), v.Price
		if size.MaxPrice != nil {
			agreed = *size.MaxPrice
		}
		if price > agreed {
			return fault.Newf(fault.Unsatisfiable, "an epoch costs %s USDC then, which is more than %s: agree to it by maxPricePerEpoch", price, agreed)
		}
		was := v.Spec
		if err := s.alter(ctx, tx, v, change); err != nil {
			return err
		}
		text := fmt.Sprintf("resized from %s to %s; an epoch costs %s USDC", was.Demand(), spec.Demand(), price)
		return tx.PutEvent(ctx, v.ID, s.happened("size", s.Now().UTC(), text))
	}
}

// of returns spec in the size.
func (z Size) of(spec vm.Spec, offer market.Offer) (vm.Spec, error) {
	all := market.Configurations()
	has := slices.IndexFunc(all, func(c market.Configuration) bool { return c.VCPU == spec.VCPU && c.RAMGiB == spec.RAMGiB })
	want := has
	if z.Configuration != "" {
		want = slices.IndexFunc(all, func(c market.Configuration) bool { return c.Slug() == z.Configuration })
	}
	if want < 0 {
		return spec, fault.Newf(fault.Invalid, "no configuration is called %.60q; GET /marketplace/basic_configurations lists them", z.Configuration)
	}
	c := all[want]
	storage := cmp.Or(z.StorageGiB, max(spec.StorageGiB, c.StorageGiB))
	switch {
	case storage < spec.StorageGiB:
		return spec, fault.Newf(fault.Invalid, "a disk of %d GiB can't become one of %d GiB: disks only grow", spec.StorageGiB, storage)
	case storage < c.StorageGiB:
		return spec, fault.Newf(fault.Invalid, "%s has at least %d GiB of storage", c.Slug(), c.StorageGiB)
	case offer.MaxExtraStorage > 0 && storage > max(spec.StorageGiB, c.StorageGiB+offer.MaxExtraStorage):
		return spec, fault.Newf(fault.Invalid, "its offer has at most %d GiB of storage for %s", c.StorageGiB+offer.MaxExtraStorage, c.Slug())
	}
	spec.VCPU, spec.RAMGiB, spec.StorageGiB = c.VCPU, c.RAMGiB, storage
	return spec, nil
}
