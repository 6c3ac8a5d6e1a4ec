package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// told returns what an account was told, the oldest first: which warning, and how
// long after the clock began.
func (c *cloud) told(who account.Actor) (lines []string) {
	c.t.Helper()
	list, err := c.AccountEvents(c.t.Context(), who, 0, control.MaxAccountEvents)
	c.must("AccountEvents", err)
	for _, e := range list {
		key, _, _ := strings.Cut(e.Key, ":")
		lines = append([]string{key + " " + e.At.Sub(start).String()}, lines...)
	}
	return lines
}

// A customer is told when its funds last for 7, 3 and 1 days, each once and to the
// microsecond, whatever steps the clock makes; and again when they had lasted longer.
func TestWarn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna, bert := c.join(room(2)), c.account("Anna", 12*price), c.account("Bert", 100*price)
		a.reports(vm.Ready, c.deploy(anna)) // 10 top-ups: until the 11th day
		a.reports(vm.Ready, c.deploy(bert))
		c.pass(4*day - time.Microsecond)
		want(t, "before", c.told(anna), []string(nil))
		c.pass(time.Microsecond)
		want(t, "after four days", c.told(anna), []string{"funds_7d 96h0m0s"})
		c.pass(5 * day)
		want(t, "after nine days", c.told(anna), []string{"funds_7d 96h0m0s", "funds_3d 192h0m0s"})
		c.pay("a day more", anna.AccountID, price)
		c.pass(time.Hour)
		want(t, "of three days once while there are less than seven", c.told(anna), []string{"funds_7d 96h0m0s", "funds_3d 192h0m0s"})
		c.pay("a week more", anna.AccountID, 7*price) // until the 19th day
		c.pass(20 * day)
		want(t, "at the end", c.told(anna), []string{
			"funds_7d 96h0m0s", "funds_3d 192h0m0s", "funds_7d 288h0m0s", "funds_3d 384h0m0s", "funds_1d 432h0m0s",
		})
		want(t, "Bert", c.told(bert), []string(nil))
		o := c.outlook(anna)
		want(t, "the latest ones are told with the account", []any{len(o.Events), strings.Split(o.Events[0].Key, ":")[0]}, []any{5, "funds_1d"})
		want(t, "text", strings.Contains(o.Events[0].Text, "lasts until 2026-03-20 12:00 UTC, 1 day from now. From then on web runs on what is paid"), true)
	})
}

// What brings the funds down at once is told when it comes: a withdrawal, another
// VM, a deposit that is too small for what is powered off.
func TestWarnAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		tick := func() {
			t.Helper()
			_, err := c.Warn(t.Context())
			c.must("Warn", err)
		}
		a, anna := c.join(room(4)), c.account("Anna", 22*price)
		first := c.deploy(anna)
		a.reports(vm.Ready, first)
		tick()
		want(t, "of 20 days", c.told(anna), []string(nil))
		_, err := c.SetBalance(t.Context(), operator, anna.AccountID, 4*price, "as agreed")
		c.must("SetBalance", err)
		tick()
		want(t, "of a withdrawal", c.told(anna), []string{"funds_7d 0s"})
		c.clock.advance(time.Second)
		second := c.deploy(anna)
		a.reports(vm.Ready, second)
		tick()
		want(t, "of another VM", c.told(anna), []string{"funds_7d 0s", "funds_3d 1s"})
		c.clock.advance(time.Second)
		_, err = c.SetBalance(t.Context(), operator, anna.AccountID, 0, "as agreed")
		c.must("SetBalance", err)
		tick()
		want(t, "of all of it", c.told(anna), []string{"funds_7d 0s", "funds_3d 1s", "funds_1d 2s"})
		c.remove(anna, first, second)
		tick()
		c.clock.advance(time.Second)
		a.reports(vm.Ready, c.deploy(anna))
		tick()
		want(t, "of a VM after the others", c.told(anna), []string{"funds_7d 0s", "funds_3d 1s", "funds_1d 2s", "funds_1d 3s"})
		tick()
		want(t, "again", len(c.told(anna)), 4)
	})
}

// Replicas that look at the same time, or one after a crash, tell everything once.
func TestWarnTogether(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		const customers = 20
		a := c.join(room(customers))
		var all []account.Actor
		for range customers {
			who := c.account("Customer", 3*price)
			a.reports(vm.Ready, c.deploy(who))
			all = append(all, who)
		}
		first := c.Service
		c.restart()
		for _, err := range together(6, func(i int) error {
			s := first
			if i%2 == 1 {
				s = c.Service
			}
			_, err := s.Warn(t.Context())
			return err
		}) {
			c.must("Warn", err)
		}
		for _, who := range all {
			want(t, "told", c.told(who), []string{"funds_3d 0s"})
		}
	})
}

// Accounts are looked at when their money moved or their time has come, and not
// otherwise.
func TestWarnLooksAtFew(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna, bert := c.join(room(2)), c.account("Anna", 30*price), c.account("Bert", 30*price)
		a.reports(vm.Ready, c.deploy(anna), c.deploy(bert))
		looked := func() (list []string) {
			t.Helper()
			c.must("look", c.db.Read(t.Context(), func(tx *store.Tx) (err error) {
				list, err = c.Lookout(t.Context(), tx)
				return err
			}))
			return list
		}
		want(t, "at first", len(looked()), 2)
		tick := func() {
			_, err := c.Warn(t.Context())
			c.must("Warn", err)
		}
		tick()
		want(t, "once they were looked at", looked(), []string(nil))
		c.clock.advance(time.Hour)
		want(t, "an hour later", looked(), []string(nil))
		c.pay("Credit", anna.AccountID, price)
		want(t, "after a deposit", looked(), []string{anna.AccountID})
		tick()
		c.clock.advance(22*day - time.Hour)
		want(t, "when the time of one has come", looked(), []string{bert.AccountID}) // it is not billed
		c.must("look at all", c.db.Read(t.Context(), func(tx *store.Tx) error {
			due, err := tx.NextDue(t.Context())
			want(t, "it is among what falls due", !due.After(c.clock.Now()), true)
			return err
		}))
	})
}

func TestAccountEventsPages(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 12*price)
		a.reports(vm.Ready, c.deploy(anna))
		c.pass(11 * day)
		page := func(before int64, limit int) (numbers []int64) {
			list, err := c.AccountEvents(t.Context(), anna, before, limit)
			c.must("AccountEvents", err)
			for _, e := range list {
				numbers = append(numbers, e.N)
			}
			return numbers
		}
		want(t, "all", page(0, 10), []int64{2, 1, 0})
		want(t, "a page", page(0, 2), []int64{2, 1})
		want(t, "the next", page(1, 2), []int64{0})
		for _, limit := range []int{0, -1, control.MaxAccountEvents + 1} {
			_, err := c.AccountEvents(t.Context(), anna, 0, limit)
			wantFault(t, "a bad limit", err, fault.Invalid)
		}
	})
}
