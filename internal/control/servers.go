package control

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Enroll lets a server join with a one-time token: from now on the holder of
// key speaks for it. The server is listed in the offer of its hardware and its
// token's terms, which is made if there is none. An agent that lost the answer
// may ask again with the same key. Returns a Denied fault for a bad token.
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
		offerID, err := s.offerFor(ctx, tx, terms, inv.Hardware)
		if err != nil {
			return err
		}
		if serverID, err = s.newID("srv"); err != nil {
			return err
		}
		return tx.InsertServer(ctx, store.Server{
			ID: serverID, OfferID: offerID, AgentKey: agentKey, Inventory: inv, SeenAt: s.Now(), CreatedAt: s.Now(),
		})
	})
	return serverID, err
}

// offerFor returns the offer that lists such hardware under such terms.
func (s *Service) offerFor(ctx context.Context, tx *store.Tx, terms store.Terms, hw capacity.Hardware) (string, error) {
	offers, err := tx.Offers(ctx)
	if err != nil {
		return "", err
	}
	for _, o := range offers {
		if o.ProviderID == terms.ProviderID && o.Datacenter.ID == terms.DatacenterID && o.Hardware == hw &&
			o.Prices == terms.Prices && o.MaxExtraStorage == terms.MaxExtraStorage {
			return o.ID, nil
		}
	}
	offerID, err := s.newID("off")
	if err != nil {
		return "", err
	}
	return offerID, tx.InsertOffer(ctx, market.Offer{
		ID: offerID, ProviderID: terms.ProviderID, Datacenter: market.Datacenter{ID: terms.DatacenterID},
		Hardware: hw, Prices: terms.Prices, MaxExtraStorage: terms.MaxExtraStorage,
	}, s.Now())
}

// checkInventory returns an Invalid fault for what no server can have.
func checkInventory(inv capacity.Inventory) error {
	const most = 1 << 24 // of any unit
	c := inv.Total
	if !c.Valid() || max(c.VCPU, c.RAMGiB, c.StorageGiB, c.Addresses) > most {
		return fault.Newf(fault.Invalid, "an inventory of %s is not believable", c)
	}
	if size, err := market.PoolSize(inv.Pool); err != nil || c.Addresses > size {
		return firstError(err, fault.Newf(fault.Invalid, "the pool %s holds fewer than %d addresses", inv.Pool, c.Addresses))
	}
	return nil
}

// AgentKey returns the public key of a server's agent, or a Denied fault.
func (s *Service) AgentKey(ctx context.Context, serverID string) (ed25519.PublicKey, error) {
	var server store.Server
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		server, err = tx.Server(ctx, serverID)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.Denied, "no such server")
	}
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(server.AgentKey)
	if err != nil {
		return nil, fmt.Errorf("decode agent key of %s: %w", serverID, err)
	}
	return key, nil
}

// Orders returns all that should be on a server.
func (s *Service) Orders(ctx context.Context, serverID string) (vm.List, error) {
	list := vm.List{Server: serverID, Epoch: s.lists, Orders: []vm.Order{}}
	err := s.Store.Read(ctx, func(tx *store.Tx) error {
		server, err := tx.Server(ctx, serverID)
		if err != nil {
			return err
		}
		list.Revision = server.Revision
		vms, err := tx.ServerVMs(ctx, serverID)
		for _, v := range vms {
			list.Orders = append(list.Orders, v.Order())
		}
		return err
	})
	return list, err
}

// Changes returns a channel that receives after a server's list may have
// changed. Listen first, then read the list.
func (s *Service) Changes(serverID string) (changed <-chan struct{}, cancel func()) {
	return s.bells.listen("server:" + serverID)
}

// Sign signs what an agent is told.
func (s *Service) Sign(message []byte) []byte { return ed25519.Sign(s.key, message) }

// ControlKey returns the key that agents pin.
func (s *Service) ControlKey() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

// Observe takes an agent's report in: states follow, money follows the states.
// Returns a Conflict fault for a report that isn't newer than the last one.
func (s *Service) Observe(ctx context.Context, serverID string, r vm.Report) error {
	if err := checkInventory(r.Inventory); err != nil {
		return err
	}
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		if ok, err := tx.Heard(ctx, serverID, r.Sequence, r.Inventory, s.Now()); err != nil || !ok {
			return firstError(err, fault.Newf(fault.Conflict, "report %d is not newer than the last one", r.Sequence))
		}
		vms, err := tx.ServerVMs(ctx, serverID)
		if err != nil {
			return err
		}
		there := make(map[string]vm.VM, len(vms))
		for _, v := range vms {
			there[v.ID] = v
		}
		for _, seen := range r.VMs {
			v, known := there[seen.ID]
			delete(there, seen.ID) // a VM is seen once in a report
			if !known {
				s.Log.WarnContext(ctx, "server holds a VM that nobody asked for", "server_id", serverID, "vm_id", printable(seen.ID))
				continue
			}
			changed, err := s.observe(ctx, tx, v, seen)
			if err != nil {
				return err
			}
			if changed {
				rung = append(rung, "vm:"+seen.ID)
			}
		}
		return nil
	})
	if err == nil {
		s.bells.ring(rung...)
	}
	return err
}

// observe takes the sighting of one VM in.
func (s *Service) observe(ctx context.Context, tx *store.Tx, v vm.VM, seen vm.Sighting) (changed bool, err error) {
	if seen.Generation > v.Generation {
		return false, nil // a generation that was never given is no report to build on
	}
	for _, step := range seen.Steps[:min(len(seen.Steps), vm.MaxSteps)] {
		if err := tx.PutEvent(ctx, v.ID, vm.Event{At: step.At, Key: "agent:" + printable(step.Key), Text: printable(step.Text)}); err != nil {
			return false, err
		}
	}
	if v.Goal == vm.Remove {
		return s.observeRemoval(ctx, tx, v, seen)
	}
	before := v
	v.Reached = max(v.Reached, seen.Generation)
	if cause, ok := seen.Phase.Cause(); ok {
		switch next := vm.Next(v.State, cause); {
		case next == vm.Failed:
			return true, s.end(ctx, tx, v, cause, "could not be launched: "+printable(seen.Reason))
		case next == vm.Active && v.State != vm.Active:
			return true, s.activate(ctx, tx, v)
		default:
			s.progress(&v, next, seen)
		}
	}
	if v.Reached == before.Reached && v.State == before.State && v.Reason == before.Reason {
		return len(seen.Steps) > 0, nil
	}
	return true, tx.UpdateVM(ctx, v)
}

// progress moves a VM that is on its way: any step onward gives it more time.
func (s *Service) progress(v *vm.VM, next vm.State, seen vm.Sighting) {
	now := s.Now().UTC()
	if next != v.State {
		v.State, v.Since = next, now
		v.Deadline = now.Add(s.Launch)
	}
	v.Reason = printable(seen.Reason)
}

// activate starts a VM's first epoch and charges it.
func (s *Service) activate(ctx context.Context, tx *store.Tx, v vm.VM) error {
	now := s.Now().UTC()
	v.State, v.Since, v.Reason, v.Deadline = vm.Next(v.State, vm.SeenReady), now, "", time.Time{}
	v.ActivatedAt, v.NextBilling = now, now.Add(v.Epoch)
	v.Reached = max(v.Reached, 1)
	if v.Price > 0 {
		posted, err := tx.Post(ctx, ledger.Rent(now, v.ID, v.ProviderID, v.Price, 1))
		if err != nil {
			return err
		}
		if posted {
			v.Spent += v.Price
		}
	}
	text := fmt.Sprintf("active at %s after %s; the first epoch was charged: %s USDC", v.Address, now.Sub(v.CreatedAt).Round(100*time.Millisecond), v.Price)
	return firstError(tx.UpdateVM(ctx, v), tx.PutEvent(ctx, v.ID, vm.Event{At: now, Key: "active", Text: text}))
}

// observeRemoval frees what a VM took once its agent has seen that nothing is left.
func (s *Service) observeRemoval(ctx context.Context, tx *store.Tx, v vm.VM, seen vm.Sighting) (bool, error) {
	if seen.Phase != vm.Absent || seen.Generation != v.Generation || v.Gone {
		return false, nil
	}
	v.Gone, v.Reached = true, seen.Generation
	return true, firstError(
		tx.UpdateVM(ctx, v), tx.GiveBack(ctx, v.ServerID, v.Spec.Demand()), tx.Revise(ctx, v.ServerID),
		tx.PutEvent(ctx, v.ID, vm.Event{At: s.Now().UTC(), Key: "removed", Text: "its disk was purged and its place is free again"}),
	)
}

// printable makes a stranger's text fit to be shown: one line, no control
// characters, at most 500 of them.
func printable(text string) string {
	clean := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, text)
	if runes := []rune(clean); len(runes) > 500 {
		return string(runes[:499]) + "…"
	}
	return clean
}
