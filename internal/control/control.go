// Package control is the control plane's brain: the use cases of customers,
// providers and operators, what agents report and are asked, and the loops
// that act when time passes.
//
// Everything that changes money or capacity happens in one transaction. Methods
// return faults; what isn't one is an internal error.
package control

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/archive/s3"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Config is what a Service needs.
type Config struct {
	Store *store.Store
	Now   func() time.Time // the billing clock
	Wall  func() time.Time // the clock that agents have, too; nil means Now
	Rand  io.Reader        // cryptographically secure
	Log   *slog.Logger

	Epoch     time.Duration // billing period of new VMs
	Grace     time.Duration // how long a VM runs on with an epoch unpaid
	Retention time.Duration // how long the disk of an unpaid VM is kept
	// KeepDeleted is how long the disk of a deleted VM is kept, so that it can be
	// undeleted; 0 for not at all.
	KeepDeleted time.Duration
	KeepDisks   time.Duration // how long a disk is kept that a VM ran on before
	Fee         Fee           // of what providers earn
	Launch      time.Duration // how long a VM may stay New, and then Launching
	Images      []Image       // offered as default images
	// RescueImage is the URL of what a VM in rescue runs unless its customer wants
	// another one; "" for none.
	RescueImage string
	// AddressRest is how long an address that a VM has left is given to no other account.
	AddressRest time.Duration

	// Gather is how long what agents tell of metrics waits to be written with that of
	// others; 5 s if 0.
	Gather time.Duration

	Limits  payment.Limits  // of deposits and withdrawals
	Sources []PaymentSource // of payments, besides operators

	Archive      *s3.Store    // where exports are kept; nil for nowhere
	ExportLimits ExportLimits // of one account

	Simulation    bool          // operators may add simulated servers
	SimulatedBoot time.Duration // until a VM on one of them is Active

	// Advance moves Now forward; nil when the clock is the real one.
	Advance func(time.Duration)
}

// Fee is the platform's part of what providers earn, in millionths.
type Fee = ledger.Fee

// Service is the control plane. Its methods may be called at the same time.
type Service struct {
	Config
	bells      bells
	shelf      shelf
	placer     placer
	keys       keyring
	refusals   refusals
	simulation simulation
	consoles   *switchboard
	listening  atomic.Pointer[time.Time] // since when agents can be heard
	loads      loads                     // guarded by the shelf being filled
	bounds     bounds                    // guarded by the shelf being filled
	tallies    tallies
	metering   metering
	key        ed25519.PrivateKey // signs what agents are asked
}

// System is the actor of the control plane itself.
var System = account.Actor{KeyID: "system", Role: account.Operator}

// New returns a Service over an open store, with the marketplace in memory. The
// first one makes the key that signs what agents are asked.
func New(ctx context.Context, c Config) (*Service, error) {
	s := &Service{Config: c, shelf: shelf{Index: market.NewIndex(), sites: map[uint32]store.Site{}}}
	s.listenFrom(c.Now())
	name, err := id.NewSecret("con", 5, c.Rand)
	if err != nil {
		return nil, err
	}
	s.consoles = newSwitchboard(name)
	if c.Simulation {
		s.bells.heard = func(things ...string) { s.simulation.heed(s.Now().Add(s.SimulatedBoot), things...) }
	}
	fresh := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(c.Rand, fresh); err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	err = c.Store.Write(ctx, func(tx *store.Tx) error {
		seed, err := tx.InitSetting(ctx, "signing_key", base64.StdEncoding.EncodeToString(fresh))
		if err != nil {
			return err
		}
		kept, err := base64.StdEncoding.DecodeString(seed)
		if err != nil || len(kept) != ed25519.SeedSize {
			return fault.New(fault.Internal, "the stored signing key is damaged")
		}
		s.key = ed25519.NewKeyFromSeed(kept)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, s.refresh(ctx)
}

// listenFrom has agents be given time from a moment on before they are silent.
func (s *Service) listenFrom(now time.Time) { s.listening.Store(&now) }

// Ready reports whether the Service can serve: its store answers.
func (s *Service) Ready(ctx context.Context) error {
	if err := s.Store.Ping(ctx); err != nil {
		s.Log.WarnContext(ctx, "store does not answer", "error", err)
		return fault.New(fault.Unavailable, "the store does not answer")
	}
	return nil
}

// AdvanceClock moves the billing clock forward, and does all that time brings on
// the way before it returns. Returns a Conflict fault unless
// the server was started with a test clock.
func (s *Service) AdvanceClock(ctx context.Context, who account.Actor, by time.Duration) (time.Time, error) {
	if err := who.RequireOperator(); err != nil {
		return time.Time{}, err
	}
	if s.Advance == nil {
		return time.Time{}, fault.New(fault.Conflict, "the clock is the real one; start the server with --clock test to move it")
	}
	if by < 0 {
		return time.Time{}, fault.New(fault.Invalid, "time goes forward only")
	}
	if store.Rehearsing(ctx) {
		return s.Now().Add(by), nil
	}
	return s.pass(ctx, by)
}

// newID returns a sortable id.
func (s *Service) newID(prefix string) (string, error) { return id.New(prefix, s.Now(), s.Rand) }
