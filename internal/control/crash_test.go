package control_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Requests that are cut off at any moment leave all of what they do or nothing,
// and repeating them completes it once.
func TestCutOff(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		const workers, rounds = 8, 12
		const wealth = money.Amount(workers*rounds*2) * price
		a, anna := c.join(room(workers*rounds)), c.account("Anna", wealth)
		var mu sync.Mutex // a report is made of what the last one left
		together(workers, func(worker int) error {
			chance := rand.New(rand.NewPCG(uint64(worker), 1))
			for n := range rounds {
				// The time that a request takes, more or less.
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(chance.IntN(8_000))*time.Microsecond)
				d := wish(1)
				d.RequestID = string(rune('a'+worker)) + string(rune('a'+n))
				made, err := c.Deploy(ctx, anna, d)
				if err != nil {
					made, err = c.Deploy(t.Context(), anna, d) // as a client does that heard nothing
				}
				c.must("Deploy", err)
				mu.Lock()
				a.sequence++
				_ = c.Observe(ctx, a.id, vm.Report{Sequence: a.sequence, Inventory: a.inv, VMs: []vm.Sighting{{ID: made[0].ID, Generation: 1, Phase: vm.Ready}}})
				mu.Unlock()
				if n%2 == 0 {
					_, _ = c.DeleteVMs(ctx, anna, []string{made[0].ID}) // it happened or it did not
				}
				cancel()
			}
			return nil
		})
		c.restart()
		c.audit()
		list, err := c.VMs(t.Context(), anna, control.VMFilter{})
		c.must("VMs", err)
		ids, holds := []string{}, c.entries(ledger.Customer(anna.AccountID), ledger.Hold)
		for _, v := range list {
			ids = append(ids, v.ID)
		}
		want(t, "holds", len(holds), workers*rounds)
		left := wealth
		for _, e := range holds {
			v := c.stored(e.VM)
			left -= v.Reserved + v.Spent
			want(t, "VM", purse(v), map[vm.State]string{
				vm.New: sum(vm.New, 2*price, 0), vm.Active: sum(vm.Active, price, price), vm.Stopped: sum(vm.Stopped, 0, v.Spent),
			}[v.State])
			want(t, "is listed", slices.Contains(ids, v.ID), v.State != vm.Stopped)
		}
		want(t, "balance", c.free(anna), left)
		want(t, "used", c.used(), room(workers*rounds))
	})
}

// entries returns the entries of an account of one kind.
func (c *cloud) entries(a ledger.Account, kind ledger.Kind) (list []ledger.Entry) {
	c.t.Helper()
	c.must("read entries", c.db.Read(c.t.Context(), func(tx *store.Tx) (err error) {
		list, err = tx.Entries(c.t.Context(), a)
		return err
	}))
	return slices.DeleteFunc(list, func(e ledger.Entry) bool { return e.Kind != kind })
}
