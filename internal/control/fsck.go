package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Discrepancy is something that is stored and can't be so.
type Discrepancy struct {
	Subject string // account, API key, entry, VM, server or provider
	Text    string
	Repair  string // what to do about it
}

// Soundness is what a check of all that is stored has found.
type Soundness struct {
	Entries, VMs, Servers int64
	Discrepancies         []Discrepancy
}

// mostDiscrepancies is how many are told one by one.
const mostDiscrepancies = 1_000

// Fsck goes through the whole ledger again and compares it, VMs and servers with
// each other. Nothing is changed but for a note of how many discrepancies there
// are, see Figures. For operators.
func (s *Service) Fsck(ctx context.Context, who account.Actor) (Soundness, error) {
	if err := who.RequireOperator(); err != nil {
		return Soundness{}, err
	}
	var found Soundness
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		found, err = check(ctx, tx)
		return err
	})
	if err != nil {
		return Soundness{}, err
	}
	return found, s.Store.Write(ctx, func(tx *store.Tx) error {
		return tx.PutSetting(ctx, fsckFound, fmt.Sprintf("%d %d", s.Now().Unix(), len(found.Discrepancies)))
	})
}

// check checks what a transaction sees.
func check(ctx context.Context, tx *store.Tx) (Soundness, error) {
	c := checkup{seen: map[string]map[string]vm.Sighting{}, used: map[string]capacity.Vector{}, owed: map[string]money.Amount{}}
	err := firstErrorOf(
		func() error { return c.ledger(ctx, tx) },
		func() error { return c.reports(ctx, tx) },
		func() error { return c.vms(ctx, tx) },
		func() error { return c.spending(ctx, tx) },
		func() error { return c.servers(ctx, tx) },
		func() error { return c.providers(ctx, tx) },
		func() error { return c.withdrawals(ctx, tx) },
	)
	c.strangers()
	return c.Soundness, err
}

// checkup is a check on its way.
type checkup struct {
	Soundness
	books *ledger.Books
	seen  map[string]map[string]vm.Sighting // by agents, by server and by what that calls the VM
	used  map[string]capacity.Vector        // of servers, by the VMs and quotes that are there
	owed  map[string]money.Amount           // what providers have pending, by their VMs
}

func (c *checkup) find(subject, repair, format string, args ...any) {
	if len(c.Discrepancies) < mostDiscrepancies {
		c.Discrepancies = append(c.Discrepancies, Discrepancy{Subject: subject, Text: fmt.Sprintf(format, args...), Repair: repair})
	}
}

func (c *checkup) ledger(ctx context.Context, tx *store.Tx) (err error) {
	if c.books, err = tx.Books(ctx); err != nil {
		return err
	}
	c.Entries = c.books.Entries
	for _, f := range c.books.Findings {
		subject, repair := "balance of "+string(f.Account), "find out who changed the database, and restore it from a backup of before; a stored balance alone may be set to what its entries say"
		if f.Entry != "" {
			subject, repair = "entry "+f.Entry, "find out who changed the database, and restore it from a backup of before"
		}
		c.find(subject, repair, "%s", f.Text)
	}
	return nil
}

// vms compares VMs with what the ledger says of them.
func (c *checkup) vms(ctx context.Context, tx *store.Tx) error {
	reserves, err := tx.Reserves(ctx)
	if err != nil {
		return err
	}
	err = tx.EachVM(ctx, func(v vm.VM) {
		c.VMs++
		c.reserve(v, reserves[v.ID])
		delete(reserves, v.ID)
		if paid := c.books.Paid(v.ID); paid != v.Spent {
			c.find("VM "+v.ID, "set spent to what the ledger says: the entries are what counts", "spent %s USDC, its entries say %s", v.Spent, paid)
		}
		c.owed[v.ProviderID] += money.Amount(v.Epochs-v.Settled) * v.Price
		if !v.Gone {
			c.used[v.ServerID] = c.used[v.ServerID].Add(v.Takes())
		}
		c.sight(v)
	})
	for _, id := range slices.Sorted(maps.Keys(reserves)) {
		c.find("VM "+id, "return it to its customer with an entry of kind refund", "there is a reserve of %s USDC and no VM", reserves[id])
	}
	return err
}

// reserve checks that no VM is without its hold, and no hold without a VM that
// may need it.
func (c *checkup) reserve(v vm.VM, held money.Amount) {
	sound := true
	switch v.State {
	case vm.New, vm.Launching:
		sound = held == ledger.DepositEpochs*v.Price
	case vm.Active:
		sound = held == v.Price
	case vm.SmallBalance:
		sound = held < v.Price
	case vm.InsufficientFunds: // what is in it was agreed to be before it held less
		sound = held < max(v.Price, v.Full.Sum())
	case vm.Stopped, vm.Failed:
		sound = held == 0
	case vm.Terminated:
	}
	if !sound {
		c.find("VM "+v.ID, "look at its entries: one is missing, or its state was changed past the control plane",
			"%s at %s USDC per epoch with a reserve of %s", v.State, v.Price, held)
	}
}

// spending compares what limits count as charged with the entries.
func (c *checkup) spending(ctx context.Context, tx *store.Tx) error {
	wrong, err := tx.MiscountedSpending(ctx)
	for _, subject := range wrong {
		c.find("spending of "+subject, "set its sums by day to what its entries of kind charge say: limits go by them",
			"what it was charged by day is not what its entries say")
	}
	return err
}

// servers compares what is taken of servers with what is there.
func (c *checkup) servers(ctx context.Context, tx *store.Tx) error {
	open, err := tx.ExpiredQuotes(ctx, time.Unix(1<<40, 0), 1<<30) // all that hold something
	if err != nil {
		return err
	}
	for _, q := range open {
		for _, p := range q.Places {
			c.used[p.Server] = c.used[p.Server].Add(p.Amount)
		}
	}
	err = tx.EachTaken(ctx, func(serverID string, used capacity.Vector, simulated bool) {
		c.Servers++
		if used != c.used[serverID] && !simulated { // those begin with something taken
			c.find("server "+serverID, "set what is taken to what its VMs and quotes take", "%s are taken, its VMs and quotes take %s", used, c.used[serverID])
		}
		delete(c.used, serverID)
	})
	for _, id := range slices.Sorted(maps.Keys(c.used)) {
		c.find("server "+id, "restore the server's row from a backup", "VMs or quotes are on it, and there is no such server")
	}
	return err
}

// providers compares what providers have pending with the epochs of their VMs
// that are not settled.
func (c *checkup) providers(ctx context.Context, tx *store.Tx) error {
	for _, id := range slices.Sorted(maps.Keys(c.owed)) {
		pending, err := tx.Balance(ctx, ledger.Pending(id))
		if err != nil {
			return err
		}
		if pending != c.owed[id] {
			c.find("provider "+id, "look at the epochs and settlements of its VMs", "%s USDC are pending, the epochs of its VMs that are not settled are %s", pending, c.owed[id])
		}
	}
	return nil
}
