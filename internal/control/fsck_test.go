package control_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

func (c *cloud) fsck() control.Soundness {
	c.t.Helper()
	found, err := c.Fsck(c.t.Context(), operator)
	c.must("Fsck", err)
	return found
}

// sound checks that all that is stored fits together, whatever agents say.
func (c *cloud) sound() {
	c.t.Helper()
	for _, d := range c.fsck().Discrepancies {
		if !strings.Contains(d.Text, "agent") {
			c.t.Errorf("found %+v", d)
		}
	}
}

// What agents reported last and what is stored of the VMs on their servers have
// to fit, where a server is heard.
func TestFsckOfReports(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 20*price)
		a := nord.join(4)
		runs, halted, gone := c.deploy(anna), c.deploy(anna), c.deploy(anna)
		ready := func(id string) vm.Sighting { return vm.Sighting{ID: id, Generation: 1, Phase: vm.Ready} }
		absent := vm.Sighting{ID: gone, Generation: 2, Phase: vm.Absent}
		c.must("Observe", a.sees(ready(runs), ready(halted), ready(gone)))
		c.remove(anna, gone)
		fresh := c.deploy(anna)
		const foreign = "0x00000000000000000000000000000000000000ff"
		for _, report := range []struct {
			name    string
			seen    []vm.Sighting
			subject string // "" when nothing is wrong
			text    string
		}{
			{"as it should be", []vm.Sighting{ready(runs), ready(halted), ready(gone)}, "", ""},
			{"a VM is started again", []vm.Sighting{ready(runs), {ID: halted, Generation: 1, Phase: vm.Booting}, ready(gone)}, "", ""},
			{"a new one is on its way", []vm.Sighting{ready(runs), ready(halted), ready(gone), {ID: fresh, Phase: vm.Preparing}}, "", ""},
			{"removed", []vm.Sighting{ready(runs), ready(halted), absent}, "", ""},
			{"told once", []vm.Sighting{ready(runs), ready(halted)}, "", ""},
			{"a VM is missing", []vm.Sighting{ready(halted)}, "VM " + runs, "Active, and the agent of server " + a.id + " does not report it"},
			{"a VM is off", []vm.Sighting{ready(runs), {ID: halted, Generation: 1, Phase: vm.Halted}}, "VM " + halted, "reports it as halted"},
			{"a VM came back", []vm.Sighting{ready(runs), ready(halted), ready(gone)}, "VM " + gone, "it is gone, and the agent of server " + a.id + " reports it as ready"},
			{"a stranger", []vm.Sighting{ready(runs), ready(halted), {ID: foreign, Phase: vm.Quarantined}}, "server " + a.id, "reports VM " + foreign + " as quarantined, which nobody asked for"},
		} {
			c.must("Observe", a.sees(report.seen...))
			found := c.fsck().Discrepancies
			if report.subject == "" {
				want(t, report.name, found, []control.Discrepancy(nil))
				continue
			}
			want(t, report.name+": how many", len(found), 1)
			want(t, report.name, found[0].Subject, report.subject)
			if !strings.Contains(found[0].Text, report.text) {
				t.Errorf("%s: %s, want … %s", report.name, found[0].Text, report.text)
			}
		}
		c.silence(2 * control.SilentAfter)
		want(t, "of a server that is not heard nothing is known", len(c.fsck().Discrepancies), 0)
	})
}

// A VM that is powered off for want of money must not run.
func TestFsckOfUnpaidVM(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 2*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.pass(2 * epoch)
		want(t, "unpaid", c.stored(id).State, vm.InsufficientFunds)
		want(t, "its agent has not obeyed yet", len(c.fsck().Discrepancies), 0)
		a.reports(vm.Halted, id)
		want(t, "it has", len(c.fsck().Discrepancies), 0)
		a.reports(vm.Ready, id)
		found := c.fsck().Discrepancies
		want(t, "it runs", len(found), 1)
		want(t, "what to do", found[0].Repair, "look at it on server "+a.id+": it runs unpaid")
	})
}

// What does not fit together is found, and what to do about it is said.
func TestFsck(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord := c.shop("Nord", 1)
		a, anna := nord.join(4), c.account("Anna", 20*price)
		runs, ends := c.deploy(anna), c.deploy(anna)
		a.reports(vm.Ready, runs, ends)
		c.pass(epoch / 2)
		nord.terminate(ends)
		a.reports(vm.Absent, ends)
		a.reports(vm.Ready, runs)
		waits := c.deploy(anna)
		held, err := c.Quote(t.Context(), anna, wish(1), control.ShortestQuote)
		c.must("Quote", err)
		asked := nord.withdraw(price / 4)
		sound := c.fsck()
		want(t, "sound", sound, control.Soundness{Entries: sound.Entries, VMs: 3, Servers: 1})
		if sound.Entries < 6 {
			t.Errorf("%d entries were looked at", sound.Entries)
		}

		provider := nord.providerID()
		for _, spoilt := range []struct {
			name, subject, text string
			by                  func(ctx context.Context, tx *store.Tx) error
		}{
			{"a reserve without a VM", "VM 0xnone", "no VM", func(ctx context.Context, tx *store.Tx) error {
				return tx.PostAll(ctx, []ledger.Entry{{At: start, Kind: ledger.TopUp, From: ledger.External, To: ledger.Reserve("0xnone"), Amount: 5, Key: "x"}})
			}},
			{"a VM without its hold", "VM " + waits, "with a reserve of", func(ctx context.Context, tx *store.Tx) error {
				return tx.PostAll(ctx, []ledger.Entry{ledger.Release(start, anna.AccountID, waits, 2*price, "", 1)})
			}},
			{"what a VM spent", "VM " + runs, "its entries say", func(ctx context.Context, tx *store.Tx) error {
				v, err := tx.VM(ctx, runs)
				v.Spent++
				return firstOf(err, func() error { return tx.UpdateVM(ctx, v) })
			}},
			{"a VM that was settled twice", "provider " + provider, "are pending", func(ctx context.Context, tx *store.Tx) error {
				v, err := tx.VM(ctx, runs)
				v.Settled++
				return firstOf(err, func() error { return tx.UpdateVM(ctx, v) })
			}},
			{"capacity that nobody takes", "server " + a.id, "are taken", func(_ context.Context, tx *store.Tx) error {
				tx.Take([]store.Taking{{Server: a.id, Amount: capacity.Vector{VCPU: 1}}})
				return nil
			}},
			{"a quote that lost its places", "server " + a.id, "are taken", func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.EndQuote(ctx, held.ID, c.clock.Now())
				return err
			}},
			{"a withdrawal that was paid past the control plane", "withdrawal " + asked.ID, "paid 0 and gave back 0", func(ctx context.Context, tx *store.Tx) error {
				asked.State, asked.Decision = payment.Confirmed, payment.Decision{DecidedAt: start}
				return tx.DecideWithdrawal(ctx, asked.Withdrawal)
			}},
			{"what a provider is being paid", "provider " + provider, "its requests add up to", func(ctx context.Context, tx *store.Tx) error {
				return tx.PostAll(ctx, []ledger.Entry{ledger.Asked(start, provider, "wdr_none", 1)})
			}},
			{"a withdrawal that is gone", "withdrawal wdr_none", "no such withdrawal", func(ctx context.Context, tx *store.Tx) error {
				return tx.PostAll(ctx, []ledger.Entry{ledger.Asked(start, provider, "wdr_none", 1)})
			}},
			{"a request that nothing was taken for", "provider " + provider, "its requests add up to", func(ctx context.Context, tx *store.Tx) error {
				return tx.InsertWithdrawal(ctx, payment.Withdrawal{ID: "wdr_x", ProviderID: provider, Amount: 1, State: payment.Requested})
			}},
		} {
			broken := errStop
			err := c.db.Write(t.Context(), func(tx *store.Tx) error { // seen from within, and never stored
				if err := spoilt.by(t.Context(), tx); err != nil {
					return err
				}
				found, err := c.FsckWithin(t.Context(), tx)
				if err != nil {
					return err
				}
				hit := false
				for _, d := range found.Discrepancies {
					hit = hit || d.Subject == spoilt.subject && strings.Contains(d.Text, spoilt.text) && d.Repair != ""
				}
				if !hit {
					t.Errorf("%s: found %+v, want %s: … %s", spoilt.name, found.Discrepancies, spoilt.subject, spoilt.text)
				}
				return broken
			})
			want(t, spoilt.name, err, broken)
		}
		want(t, "sound again", len(c.fsck().Discrepancies), 0)

		_, err = c.Fsck(t.Context(), account.Actor{AccountID: anna.AccountID, Role: account.Customer})
		wantFault(t, "Fsck by a customer", err, fault.Denied)
		c.clock.advance(time.Minute)
	})
}

// Each day one of the replicas checks, and tells the operator what is wrong.
func TestFsckDaily(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		var log strings.Builder
		c.log = &log
		c.restart()
		first := c.Service
		c.restart()
		checks := func() (n int) {
			for _, s := range []*control.Service{first, c.Service, first} {
				did, err := s.FsckDaily(t.Context())
				c.must("FsckDaily", err)
				n += did
			}
			return n
		}
		want(t, "at the beginning", checks(), 1)
		c.clock.advance(24*time.Hour - time.Second)
		want(t, "within the day", checks(), 0)
		want(t, "what is told of a sound cloud", log.String(), "")
		c.must("spoil", c.db.Write(t.Context(), func(tx *store.Tx) error {
			return tx.PostAll(t.Context(), []ledger.Entry{{At: start, Kind: ledger.TopUp, From: ledger.External, To: ledger.Reserve("0xnone"), Amount: 5, Key: "x"}})
		}))
		c.clock.advance(time.Second)
		want(t, "on the next day", checks(), 1)
		if told := log.String(); !strings.Contains(told, "VM 0xnone") || !strings.Contains(told, "count=1") {
			t.Errorf("told %q", told)
		}
	})
}

var errStop = fault.New(fault.Conflict, "nothing of this is stored")

func firstOf(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}
