package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Deployment is what a customer asks for.
type Deployment struct {
	Constraints market.Constraints
	Instances   int64
	// RequestID makes the request safe to repeat: the same one by the same
	// account gets the first answer again. "" repeats nothing.
	RequestID string
	Name      string
	Hostname  string // "" for the name
	Image     string // http(s) URL
	SSHKeys   []string
	Ports     []vm.Port // 22/tcp is added
}

// Deployed is one VM that a deployment made.
type Deployed struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Deploy accepts a request: all instances are placed, their capacity is taken
// and two epochs of rent are held, or nothing happens. Returns Invalid for a
// value that is not acceptable, Unsatisfiable when no offer fits, Unaffordable
// when the balance is smaller than the deposit, and Conflict when RequestID was
// used for another request.
func (s *Service) Deploy(ctx context.Context, who account.Actor, d Deployment) ([]Deployed, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	made, servers, err := s.deploy(ctx, who, d)
	if err != nil {
		return nil, err
	}
	for _, server := range servers {
		s.bells.ring("server:" + server)
	}
	return made, nil
}

func (d *Deployment) check() error {
	if d.Hostname == "" {
		d.Hostname = vm.DefaultHostname(d.Name)
	}
	if len(d.RequestID) > 255 {
		return fault.New(fault.Invalid, "requestId is longer than 255 characters")
	}
	ports, err := vm.OpenPorts(d.Ports)
	d.Ports = vm.WithSSH(ports)
	return firstError(
		checkInstances(d.Instances), vm.CheckName(d.Name), vm.CheckHostname(d.Hostname),
		vm.CheckImage(d.Image), vm.CheckKeyCount(len(d.SSHKeys)), err, d.Constraints.Check(),
	)
}

// firstError returns the first error that is one.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// deploy returns what was made, and the servers whose lists changed.
func (s *Service) deploy(ctx context.Context, who account.Actor, d Deployment) (made []Deployed, servers []string, err error) {
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		made, servers = nil, nil
		answered, err := s.answered(ctx, tx, who, d)
		if err != nil || answered != nil {
			made = answered
			return err
		}
		registered, err := tx.SSHKeys(ctx, who.AccountID)
		if err != nil {
			return err
		}
		keys, err := publicKeys(d.SSHKeys, registered)
		if err != nil {
			return err
		}
		offers, err := tx.Offers(ctx)
		if err != nil {
			return err
		}
		placed, err := market.Place(offers, d.Constraints, int(d.Instances))
		if err != nil {
			return err
		}
		if err := s.checkBalance(ctx, tx, who.AccountID, placed); err != nil {
			return err
		}
		byServer := map[string][]market.Placement{}
		for _, p := range placed {
			byServer[p.ServerID] = append(byServer[p.ServerID], p)
		}
		servers = slices.Sorted(maps.Keys(byServer))
		draft := s.draft(who, d, keys)
		for _, server := range servers {
			vms, err := s.place(ctx, tx, draft, server, byServer[server])
			if err != nil {
				return err
			}
			made = append(made, vms...)
		}
		return s.keepAnswer(ctx, tx, who, d, made)
	})
	return made, servers, err
}

// checkBalance says in full what is missing, before the ledger refuses.
func (s *Service) checkBalance(ctx context.Context, tx *store.Tx, accountID string, placed []market.Placement) error {
	cost, err := estimate(placed)
	if err != nil {
		return err
	}
	free, err := tx.Balance(ctx, ledger.Customer(accountID))
	if err == nil && free < cost.Deposit {
		return fault.Newf(fault.Unaffordable, "the deposit is %s USDC (two epochs at %s), the balance is %s USDC; %s USDC are missing",
			cost.Deposit, cost.Total, free, cost.Deposit-free)
	}
	return err
}

// place puts VMs like draft on one server: capacity, addresses, money, rows.
func (s *Service) place(ctx context.Context, tx *store.Tx, draft vm.VM, serverID string, placed []market.Placement) ([]Deployed, error) {
	for _, p := range placed {
		if ok, err := tx.Take(ctx, serverID, p.Configuration.Demand(p.StorageGiB-p.Configuration.StorageGiB)); err != nil || !ok {
			return nil, firstError(err, fmt.Errorf("server %s has no room for what was placed there", serverID))
		}
	}
	server, err := tx.Server(ctx, serverID)
	if err != nil {
		return nil, err
	}
	taken, err := tx.TakenAddresses(ctx, serverID)
	if err != nil {
		return nil, err
	}
	made := make([]Deployed, 0, len(placed))
	for _, p := range placed {
		server.LastAddress, err = market.NextAddress(server.Inventory.Pool, server.LastAddress, func(a netip.Addr) bool { return taken[a] })
		if err != nil {
			return nil, err
		}
		taken[server.LastAddress] = true
		v, err := s.placed(draft, p, server.LastAddress)
		if err != nil {
			return nil, err
		}
		if err := s.accept(ctx, tx, v, p); err != nil {
			return nil, err
		}
		made = append(made, Deployed{ID: v.ID, Name: v.Name})
	}
	return made, firstError(tx.SetLastAddress(ctx, serverID, server.LastAddress), tx.Revise(ctx, serverID))
}

// draft returns what all VMs of a deployment have in common.
func (s *Service) draft(who account.Actor, d Deployment, keys []string) vm.VM {
	now := s.Now().UTC()
	return vm.VM{
		AccountID: who.AccountID, Name: d.Name,
		Spec: vm.Spec{Hostname: d.Hostname, Image: d.Image, SSHKeys: keys, Ports: d.Ports},
		Goal: vm.Run, Generation: 1, State: vm.New, Since: now, Reason: "waiting for its server", Deadline: now.Add(s.Launch),
		Epoch: s.Epoch, CreatedAt: now,
	}
}

// placed returns the draft as one VM at its place.
func (s *Service) placed(draft vm.VM, p market.Placement, address netip.Addr) (v vm.VM, err error) {
	v = draft
	v.ServerID, v.OfferID, v.ProviderID, v.DatacenterID = p.ServerID, p.Offer.ID, p.Offer.ProviderID, p.Offer.Datacenter.ID
	v.Spec.VCPU, v.Spec.RAMGiB, v.Spec.StorageGiB = p.Configuration.VCPU, p.Configuration.RAMGiB, p.StorageGiB
	v.Price, v.Address = p.Price, address
	v.ID, err = id.NewVM(s.Rand)
	return v, err
}

// accept writes a new VM, its hold and the beginning of its story.
func (s *Service) accept(ctx context.Context, tx *store.Tx, v vm.VM, p market.Placement) error {
	hold, err := ledger.Reservation(v.CreatedAt, v.AccountID, v.ID, v.Price)
	if err != nil {
		return err
	}
	if err := tx.InsertVM(ctx, v); err != nil {
		return err
	}
	if hold.Amount > 0 { // a provider may give VMs away
		if _, err := tx.Post(ctx, hold); err != nil {
			return err
		}
	}
	return tx.PutEvent(ctx, v.ID, vm.Event{At: v.CreatedAt, Key: "accepted", Text: fmt.Sprintf(
		"accepted at %s USDC per epoch and placed in %s; a deposit of %s USDC is reserved", v.Price, p.Offer.Datacenter.Slug(), hold.Amount)})
}

// answered returns what the same request was answered before, nil if it wasn't.
func (s *Service) answered(ctx context.Context, tx *store.Tx, who account.Actor, d Deployment) ([]Deployed, error) {
	if d.RequestID == "" {
		return nil, nil
	}
	kept, err := tx.Answer(ctx, who.AccountID, d.RequestID)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if request, err := d.digest(); err != nil || request != kept.Request {
		return nil, firstError(err, fault.Newf(fault.Conflict, "request id %q was used for another request", d.RequestID))
	}
	var made []Deployed
	return made, json.Unmarshal([]byte(kept.Answer), &made)
}

func (s *Service) keepAnswer(ctx context.Context, tx *store.Tx, who account.Actor, d Deployment, made []Deployed) error {
	if d.RequestID == "" {
		return nil
	}
	request, err := d.digest()
	if err != nil {
		return err
	}
	answer, err := json.Marshal(made)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	kept, err := tx.SaveAnswer(ctx, store.Answer{
		AccountID: who.AccountID, Key: d.RequestID, Request: request, Answer: string(answer), CreatedAt: s.Now(),
	})
	if err == nil && !kept {
		return fmt.Errorf("request id %q was answered meanwhile", d.RequestID)
	}
	return err
}

// digest identifies the request. Keys count as they were given.
func (d Deployment) digest() (string, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("encode request: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}
