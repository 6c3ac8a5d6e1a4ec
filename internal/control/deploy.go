package control

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/userdata"
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
	Image     string // http(s) URL; "" where Snapshot or Export says what it is made of
	SSHKeys   []string
	Ports     []vm.Port // 22/tcp is added

	Strategy market.Strategy `json:",omitempty"`
	// AffinityGroup keeps the VMs off each other's servers, and off those of
	// VMs that the account deployed in the same group before. "" is none.
	AffinityGroup string `json:",omitempty"`
	// ImageChecksum is what the image has to have as it is downloaded: see
	// vm.ParseChecksum. "" is for whatever is there.
	ImageChecksum string `json:",omitempty"`
	// Labels are those of each VM.
	Labels vm.Labels `json:",omitempty"`
	// UserData is what each VM is given to do at its first boot: see
	// userdata.Check. It is the customer's secret.
	UserData userdata.Text `json:",omitempty"`
	// Snapshot is what each VM's disk is made of, on the server where that is. Each is
	// another machine than the one that it is of.
	Snapshot string `json:",omitempty"`
	// Export is what each VM's disk is made of, on whatever server. Each is another
	// machine than the one that it is of.
	Export string `json:",omitempty"`
	// QuoteID takes the places and prices of a quote; what it was made for
	// stands for Constraints, Strategy and AffinityGroup then.
	QuoteID string `json:",omitempty"`
}

// Deployed is one VM that a deployment made.
type Deployed struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Deploy accepts a request: all instances are placed, their capacity is taken
// and two epochs of rent are held, or nothing happens. Returns Invalid for a
// value that is not acceptable, Unsatisfiable when no offer fits, Unaffordable
// when the balance is smaller than the deposit, Exhausted when a limit of the
// account or the key would be passed, NotFound for an unknown quote,
// and Conflict for one that has ended and when RequestID was used for another
// request.
func (s *Service) Deploy(ctx context.Context, who account.Actor, d Deployment) ([]Deployed, error) {
	if store.Rehearsing(ctx) {
		_, err := s.PlanDeploy(ctx, who, d)
		return nil, err
	}
	o, err := s.order(ctx, who, d)
	if err != nil {
		return nil, err
	}
	s.placer.submit(ctx, s, o)
	select {
	case <-o.done:
		return o.made, o.err
	case <-ctx.Done():
		return nil, ctx.Err() // what becomes of it is not known here; a request id tells
	}
}

// order returns what is asked for as an order, once it is acceptable.
func (s *Service) order(ctx context.Context, who account.Actor, d Deployment) (*order, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	o := &order{who: who, wish: d, done: make(chan struct{})}
	err := s.source(ctx, o)
	if err != nil {
		return nil, err
	}
	if o.digest, err = s.digest(d); err != nil {
		return nil, err
	}
	if o.keys, o.noKeys = s.publicKeys(ctx, who.AccountID, d.SSHKeys); o.noKeys != nil && d.RequestID == "" {
		return nil, o.noKeys
	}
	return o, nil
}

// publicKeys resolves SSH keys. An order that names none by name or fingerprint
// needs no look into the store.
func (s *Service) publicKeys(ctx context.Context, accountID string, given []string) (keys []string, err error) {
	if keys, err = publicKeys(given, nil); !fault.Is(err, fault.Invalid) {
		return keys, err
	}
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		registered, err := tx.SSHKeys(ctx, accountID)
		if err != nil {
			return err
		}
		keys, err = publicKeys(given, registered)
		return err
	})
	return keys, err
}

// checkRequestID bounds the id of a request.
func checkRequestID(requestID string) error {
	if len(requestID) > 255 {
		return fault.New(fault.Invalid, "requestId is longer than 255 characters")
	}
	return nil
}

func (d *Deployment) check() error {
	if d.Hostname == "" {
		d.Hostname = vm.DefaultHostname(d.Name)
	}
	ports, err := vm.OpenPorts(d.Ports)
	d.Ports = vm.WithSSH(ports)
	checksum, badSum := vm.ParseChecksum(d.ImageChecksum)
	d.ImageChecksum = checksum
	return firstError(
		checkRequestID(d.RequestID), checkInstances(d.Instances), vm.CheckName(d.Name), vm.CheckHostname(d.Hostname),
		d.checkSource(), badSum, vm.CheckKeyCount(len(d.SSHKeys)), err, d.Constraints.Check(),
		d.Strategy.Check(), vm.CheckAffinityGroup(d.AffinityGroup), userdata.Check(d.UserData), vm.CheckLabels(d.Labels),
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

// digest identifies the request. Keys count as they were given. User data counts by
// what nobody can find it out from who does not have the control plane's key.
func (s *Service) digest(d Deployment) (string, error) {
	if d.RequestID == "" {
		return "", nil
	}
	if d.UserData != "" {
		mac := hmac.New(sha256.New, s.key.Seed())
		fmt.Fprintf(mac, "cpucloud user data 1\n%s\n%s", d.RequestID, string(d.UserData))
		d.UserData = userdata.Text(hex.EncodeToString(mac.Sum(nil)))
	}
	text, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("encode request: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}
