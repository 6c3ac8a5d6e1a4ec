package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// limit sets the limits of an account.
func (c *cloud) limit(who account.Actor, l account.Limits) {
	c.t.Helper()
	_, err := c.SetLimits(c.t.Context(), who, l)
	c.must("SetLimits", err)
}

// key makes another key of an account, with limits of its own.
func (c *cloud) key(who account.Actor, l account.Limits) account.Actor {
	c.t.Helper()
	_, secret, err := c.CreateKey(c.t.Context(), who, "ci", account.Customer, l)
	c.must("CreateKey", err)
	made, err := c.Authenticate(c.t.Context(), secret)
	c.must("Authenticate", err)
	return made
}

func (c *cloud) spending(who account.Actor) control.Spending {
	c.t.Helper()
	s, err := c.Spending(c.t.Context(), who)
	c.must("Spending", err)
	return s
}

// try deploys n small VMs.
func (c *cloud) try(who account.Actor, n int64) error {
	_, err := c.Deploy(c.t.Context(), who, wish(n))
	return err
}

// refused checks that a deploy is refused for a limit, in these words.
func (c *cloud) refused(what string, err error, words string) {
	c.t.Helper()
	wantFault(c.t, what, err, fault.Exhausted)
	if !strings.Contains(fault.Message(err), words) {
		c.t.Errorf("%s: got %q, want something with %q", what, fault.Message(err), words)
	}
}

// What is charged in a day is bounded, waiting VMs count with the epoch that they
// will be charged, and the next day begins at midnight of UTC.
func TestLimitPerDay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(9)), c.account("Anna", 100*price)
		first := c.deploy(anna)
		a.reports(vm.Ready, first)
		c.limit(anna, account.Limits{PerDay: new(3 * price)})
		c.must("two more", c.try(anna, 2))
		want(t, "used", c.spending(anna).Account.Used, account.Use{Day: 3 * price, Month: 3 * price, Running: 3 * price})
		c.refused("a third", c.try(anna, 1), "the limit of the account is 0.400326 USDC charged per day: 0.400326 USDC are used, and this needs 0.133442 USDC, 0.133442 USDC more than is left")
		c.refused("a third", c.try(anna, 1), "wait until 2026-03-02T00:00:00Z, raise it")
		_, err := c.Quote(t.Context(), anna, wish(1), time.Minute)
		c.refused("a quote", err, "charged per day")

		c.clock.advance(12 * time.Hour) // midnight: what waits still counts, what was charged does not
		want(t, "used", c.spending(anna).Account.Used, account.Use{Day: 2 * price, Month: 3 * price, Running: 3 * price})
		c.must("one on the next day", c.try(anna, 1))
		c.refused("another", c.try(anna, 1), "2026-03-03T00:00:00Z")
		c.limit(anna, account.Limits{})
		c.must("without a limit", c.try(anna, 2))
	})
}

// Everything that runs is bounded together, and what ends makes room.
func TestLimitOnWhatRuns(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(9)), c.account("Anna", 7*price)
		c.limit(anna, account.Limits{Running: new(2 * price)})
		one, two := c.deploy(anna), c.deploy(anna)
		a.reports(vm.Ready, one)
		c.refused("a third", c.try(anna, 1), "USDC per 24 h for all that runs")
		c.remove(anna, two)
		three := c.deploy(anna)
		c.remove(anna, one, three)
		_, err := c.Quote(t.Context(), anna, wish(2), time.Minute)
		c.must("a quote", err)
		c.must("two", c.try(anna, 2))

		c.limit(anna, account.Limits{Running: new(0 * price), PerDay: new(money.Amount(0)), PerMonth: new(money.Amount(0))})
		for _, o := range a.orders() {
			if o.Goal == vm.Run {
				a.reports(vm.Ready, o.ID)
			}
		}
		c.clock.advance(epoch)
		_, err = c.Bill(t.Context())
		c.must("Bill", err)
		list, err := c.VMs(t.Context(), anna, control.VMFilter{})
		c.must("VMs", err)
		want(t, "VMs under a limit of nothing", len(list), 2)
		for _, v := range list {
			want(t, "charged under a limit of nothing", v.Epochs, int64(2))
		}
		c.refused("a new one", c.try(anna, 1), "0 USDC")
	})
}

// Those who deploy at the same time, over two control planes, share what limits
// leave to the last micro-USDC.
func TestLimitsAreSharedByAll(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(400))
		first := c.Service
		c.restart()
		anna := c.account("Anna", 5_000*price)
		c.limit(anna, account.Limits{PerDay: new(300*price + price - 1)})
		ci := c.key(anna, account.Limits{Running: new(50 * price)})
		errs := together(1_000, func(i int) error {
			replica, who := []*control.Service{first, c.Service}[i%2], []account.Actor{anna, anna, ci}[i%3]
			_, err := replica.Deploy(t.Context(), who, wish(1))
			return err
		})
		want(t, "outcomes", tally(errs), map[fault.Kind]int{"": 300, fault.Exhausted: 700})
		spent := c.spending(ci)
		want(t, "used by the account", spent.Account.Used, account.Use{Day: 300 * price, Month: 300 * price, Running: 300 * price})
		if spent.Key.Used.Running > 50*price {
			t.Errorf("used by the key: %s", spent.Key.Used.Running)
		}
		want(t, "balance", c.free(anna), 5_000*price-600*price)
		c.audit()
	})
}

// A dry run says what a deploy would come to, and the next deploy comes to that.
func TestPlanDeploy(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(3))
		anna := c.account("Anna", 10*price)
		c.limit(anna, account.Limits{PerDay: new(2 * price)})
		d := wish(2)
		d.RequestID = "r"
		revision := c.Shelf().Revision()
		plan, err := c.PlanDeploy(t.Context(), anna, d)
		c.must("PlanDeploy", err)
		c.untouched("a dry run", anna, 10*price)
		want(t, "revision of the index", c.Shelf().Revision(), revision)
		want(t, "cost", plan.Estimate, control.Estimate{Instances: 2, Total: 2 * price, Dearest: price, Deposit: 4 * price})
		want(t, "balance", plan.Left, 6*price)
		want(t, "limits", plan.Limits.Account.Used, account.Use{Day: 2 * price, Month: 2 * price, Running: 2 * price})
		_, err = c.PlanDeploy(t.Context(), anna, wish(3))
		c.refused("a dry run of three", err, "charged per day")

		made, err := c.Deploy(t.Context(), anna, d)
		c.must("Deploy", err)
		want(t, "balance", c.free(anna), plan.Left)
		want(t, "limits", c.spending(anna), plan.Limits)
		plan, err = c.PlanDeploy(t.Context(), anna, d)
		c.must("PlanDeploy", err)
		want(t, "what was made before", plan.Repeated, made)
		_, err = c.PlanDeploy(t.Context(), anna, wish(1))
		wantFault(t, "one more", err, fault.Exhausted)
		c.audit()
	})
}

// A limit that is set or lifted on one replica counts on the other at once.
func TestLimitsOnBothReplicas(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(9))
		other := c.Service
		c.restart()
		anna := c.account("Anna", 100*price)
		elsewhere := func() error {
			_, err := other.Deploy(t.Context(), anna, wish(1))
			return err
		}
		c.must("without a limit", elsewhere())
		for range 2 {
			c.limit(anna, account.Limits{Running: new(money.Amount(0))})
			c.refused("with one", elsewhere(), "0 USDC per 24 h for all that runs")
			c.limit(anna, account.Limits{Running: new(money.Amount(0)), PerDay: new(price)})
			c.limit(anna, account.Limits{})
			c.must("without it again", elsewhere())
		}
	})
}

// Where epochs are shorter than a day, what runs counts by the day all the same,
// and a new VM needs the one epoch that it is charged at once.
func TestLimitsOnShortEpochs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(9)), c.account("Anna", 100*price)
		long := c.deploy(anna)
		c.length = 7 * time.Hour
		c.restart()
		a.c = c
		daily := (price*24 + 6) / 7 // rounded up
		c.limit(anna, account.Limits{PerDay: new(4 * price), Running: new(price + daily)})
		short := c.deploy(anna)
		want(t, "used", c.spending(anna).Account.Used, account.Use{Day: 2 * price, Month: 2 * price, Running: price + daily})
		c.refused("another", c.try(anna, 1), "per 24 h for all that runs: "+(price+daily).String()+" USDC are used, and this needs "+daily.String())
		a.reports(vm.Ready, long, short)
		c.pass(8 * time.Hour)
		want(t, "used 8 h later", c.spending(anna).Account.Used, account.Use{Day: 3 * price, Month: 3 * price, Running: price + daily})
	})
}

// Dry runs at the same time as deploys make nothing, and leave those as they are.
func TestPlansBesideDeploys(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(30))
		anna := c.account("Anna", 100*price)
		errs := together(60, func(i int) (err error) {
			switch i % 3 {
			case 0:
				_, err = c.PlanDeploy(t.Context(), anna, wish(1))
			case 1:
				var made []control.Deployed
				made, err = c.Deploy(control.Rehearse(t.Context()), anna, wish(1))
				want(t, "made by a dry run", len(made), 0)
			default:
				_, err = c.Deploy(t.Context(), anna, wish(1))
			}
			return err
		})
		want(t, "outcomes", tally(errs), map[fault.Kind]int{"": 60})
		want(t, "used", c.used(), room(20))
		want(t, "balance", c.free(anna), 60*price)
		plan, err := c.PlanDeploy(t.Context(), anna, wish(10))
		c.must("a dry run of all that is left", err)
		want(t, "balance", plan.Left, 40*price)
		c.must("all that is left", c.try(anna, 10))
		c.audit()
	})
}
