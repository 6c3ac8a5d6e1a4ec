package control

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// errRemoved refuses the agent of a server that is not of the marketplace.
var errRemoved = fault.New(fault.Denied, "no such server, or it was removed")

// AgentKey returns the public key of a server's agent, or a Denied fault.
func (s *Service) AgentKey(ctx context.Context, serverID string) (ed25519.PublicKey, error) {
	var server store.Server
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		server, err = tx.Server(ctx, serverID)
		return err
	})
	if fault.Is(err, fault.NotFound) || err == nil && server.State == market.ServerRemoved {
		return nil, errRemoved
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
	list := vm.List{Server: serverID, Orders: []vm.Order{}}
	err := s.Store.Read(ctx, func(tx *store.Tx) error {
		server, err := tx.Server(ctx, serverID)
		if err != nil {
			return err
		}
		list.Epoch, list.Revision, list.Measure = server.ListEpoch, server.Revision, server.MeasureWanted
		vms, err := tx.ServerVMs(ctx, serverID)
		for _, v := range vms {
			o := v.Order()
			o.Tenant = s.tenant(serverID, v.AccountID)
			list.Orders = append(list.Orders, o)
		}
		return err
	})
	return list, err
}

// tenant is what an agent knows an account by: the same for all its VMs there,
// another on every server, and of no use to find out whose they are. What a
// failed launch left behind belongs to nobody.
func (s *Service) tenant(serverID, accountID string) string {
	if accountID == "" {
		return ""
	}
	mac := hmac.New(sha256.New, s.key.Seed())
	fmt.Fprintf(mac, "cpucloud tenant 1\n%s\n%s", serverID, accountID)
	return hex.EncodeToString(mac.Sum(nil)[:16])
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
