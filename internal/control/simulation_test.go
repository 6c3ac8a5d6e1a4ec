package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const fleet = `1,6,9,US,INTEL,SAPPHIRERAPIDS,DDR5,HDD,16,32,640,8,4,8,50,2,100000
2,6,9,US,INTEL,SAPPHIRERAPIDS,DDR5,HDD,16,32,640,8,0,0,0,0,100000
3,7,11,AC,AMD,TURIN,DDR5,NVME,16,128,800,8,0,0,0,0,241000
`

// Simulated servers are sold like others, and what is deployed there runs and
// goes by itself.
func TestSimulation(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.simulation = true
		c.restart()
		n, err := c.Simulate(t.Context(), operator, fleet, false)
		c.must("Simulate", err)
		want(t, "servers", n, 3)
		var cheapest market.Summary
		c.must("Offers", c.Offers(market.Constraints{}, func(m *market.Match) bool {
			cheapest = m.Summary
			return false
		}))
		want(t, "provider", cheapest.Offer.Provider, "sim-6")
		want(t, "servers of the cheapest", cheapest.Servers, int64(2))
		want(t, "instances", cheapest.Instances, int64(14))
		want(t, "its price", cheapest.Price, money.Amount(2*40_000+4*25_000+25*800))

		anna := c.account("Anna", 100*cheapest.Price)
		id := c.deploy(anna)
		c.must("SimulateAgents", c.SimulateAgents(t.Context()))
		want(t, "state at first", c.stored(id).State, vm.New)
		c.clock.advance(time.Second)
		c.must("SimulateAgents", c.SimulateAgents(t.Context()))
		want(t, "state after a second", c.stored(id).State, vm.Active)
		c.remove(anna, id)
		c.must("SimulateAgents", c.SimulateAgents(t.Context()))
		want(t, "gone", c.stored(id).Gone, true)
		c.clock.advance(time.Hour)
		c.must("NoteSilence", second(c.NoteSilence(t.Context())))
		want(t, "sells though no agent is heard", c.sells(), true)
		n, err = c.Simulate(t.Context(), operator, fleet, true)
		c.must("Simulate again", err)
		want(t, "servers", n, 3)
		c.audit()
	})
}

func TestSimulationRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		wantFault(t, "where it is not allowed", second(c.Simulate(t.Context(), operator, fleet, false)), fault.Conflict)
		c.simulation = true
		c.restart()
		wantFault(t, "by a customer", second(c.Simulate(t.Context(), account.Actor{Role: account.Customer}, fleet, false)), fault.Denied)
		for name, text := range map[string]string{
			"words":    "hello\n",
			"a number": strings.Replace(fleet, "640", "many", 1),
			"negative": strings.Replace(fleet, "640", "-1", 1),
			"country":  strings.Replace(fleet, "US", "USA", 1),
			"place":    strings.Replace(fleet, ",9,", ",nine,", 1),
		} {
			wantFault(t, name, second(c.Simulate(t.Context(), operator, text, false)), fault.Invalid)
		}
		want(t, "servers", c.Shelf().Servers(), 0)
	})
}
