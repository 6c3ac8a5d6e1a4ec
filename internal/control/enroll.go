package control

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"slices"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Enroll lets a server join with a one-time token: from now on the holder of
// key speaks for it. The server is listed by the offer that its token names, or
// by the one of its datacenter that names its hardware best. An agent that lost
// the answer may ask again with the same key. Returns a Denied fault for a bad
// token, and Conflict, leaving the token good, when no offer lists the hardware
// or another server has the name meanwhile.
func (s *Service) Enroll(ctx context.Context, token string, key ed25519.PublicKey, inv capacity.Inventory) (serverID string, err error) {
	if err := checkInventory(inv); err != nil {
		return "", err
	}
	agentKey := base64.StdEncoding.EncodeToString(key)
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		serverID, err = tx.ServerByKey(ctx, agentKey)
		if !fault.Is(err, fault.NotFound) {
			return err
		}
		terms, err := tx.UseToken(ctx, account.HashKey(token), s.Now())
		if err != nil {
			return err
		}
		if err := nameIsFree(ctx, tx, terms.ProviderID, terms.Name); err != nil {
			return err
		}
		offer, err := offerFor(ctx, tx, terms, inv.Hardware)
		if err != nil {
			return err
		}
		if serverID, err = s.newID("srv"); err != nil {
			return err
		}
		return firstErrorOf(
			func() error {
				return tx.InsertServer(ctx, store.Server{
					ID: serverID, Name: terms.Name, OfferID: offer.ID, AgentKey: agentKey, Inventory: inv, SeenAt: s.Now(), CreatedAt: s.Now(),
				})
			},
			func() error {
				return tx.PutServerEvent(ctx, serverID, s.happened("joined", s.Now(), "joined with "+inv.Total.String()+"; listed by offer "+offer.Name))
			},
		)
	})
	if err == nil {
		s.changed(ctx)
	}
	return serverID, err
}

// offerFor returns the offer that lists such hardware under such terms.
func offerFor(ctx context.Context, tx *store.Tx, terms store.Terms, hw capacity.Hardware) (market.Offer, error) {
	offers, err := tx.ProviderOffers(ctx, terms.ProviderID)
	if err != nil {
		return market.Offer{}, err
	}
	here := slices.DeleteFunc(offers, func(o market.Offer) bool {
		return o.Datacenter.ID != terms.DatacenterID || terms.OfferID != "" && o.ID != terms.OfferID
	})
	if o := market.ForHardware(here, hw); o != nil {
		return *o, nil
	}
	return market.Offer{}, fault.Newf(fault.Conflict, "no offer of this provider there lists %s; add one and apply it, the token stays good", describe(hw))
}

// describe names hardware in a line.
func describe(hw capacity.Hardware) string {
	return printable(hw.CPU.Manufacturer + " " + hw.CPU.Brand + " (" + hw.CPU.Architecture + " " + hw.CPU.Generation + "), " +
		hw.Memory.Type + hw.Memory.Generation + ", " + hw.Storage.Type)
}

// checkInventory returns an Invalid fault for what no server can have.
func checkInventory(inv capacity.Inventory) error {
	const most = 1 << 24 // of any unit
	c, d := inv.Total, inv.Details
	if !c.Valid() || max(c.VCPU, c.RAMGiB, c.StorageGiB, c.Addresses) > most {
		return fault.Newf(fault.Invalid, "an inventory of %s is not believable", c)
	}
	if d.Threads > 0 && c.VCPU > d.Threads*max(1, inv.VCPUPerThread) && !slices.Contains(inv.Declared, "total.vcpu") {
		return fault.Newf(fault.Invalid, "%d vCPU are more than %d threads sold %d times", c.VCPU, d.Threads, max(1, inv.VCPUPerThread))
	}
	if d.MemoryGiB > 0 && c.RAMGiB > d.MemoryGiB {
		return fault.Newf(fault.Invalid, "%d GiB of RAM to sell are more than the %d there are", c.RAMGiB, d.MemoryGiB)
	}
	if inv.VCPUPerThread > maxPerThread {
		return fault.Newf(fault.Invalid, "a thread is sold at most %d times, not %d", maxPerThread, inv.VCPUPerThread)
	}
	if size, err := market.PoolSize(inv.Pool); err != nil || c.Addresses > size {
		return firstError(err, fault.Newf(fault.Invalid, "the pool %s holds fewer than %d addresses", inv.Pool, c.Addresses))
	}
	return nil
}

// maxPerThread is how often a hardware thread may be sold.
const maxPerThread = 64
