package control_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
)

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// A quote holds its price and its places for its account, and for nobody else.
func TestQuote(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(3))
		anna, bert := c.account("Anna", 100*price), c.account("Bert", 100*price)
		quote, err := c.Quote(t.Context(), anna, wish(2), time.Minute)
		c.must("Quote", err)
		want(t, "quote", quote, control.Quote{
			ID: quote.ID, ExpiresAt: start.Add(time.Minute), Configuration: small, StorageGiB: 25,
			Estimate: control.Estimate{Instances: 2, Total: 2 * price, Dearest: price, Deposit: 4 * price},
		})
		want(t, "used", c.used(), room(2))
		want(t, "balance", c.free(anna), 100*price)
		_, err = c.Deploy(t.Context(), bert, wish(2))
		wantFault(t, "what is held for another", err, fault.Unsatisfiable)
		c.must("Reprice", c.Reprice(t.Context(), operator, "Nord", market.Prices{VCPU: 999, RAM: 999, Storage: 999, Address: 999}))

		take := wish(2)
		take.QuoteID = quote.ID
		_, err = c.Deploy(t.Context(), bert, take)
		wantFault(t, "a foreign quote", err, fault.NotFound)
		other := take
		other.Instances = 1
		_, err = c.Deploy(t.Context(), anna, other)
		wantFault(t, "for another number", err, fault.Invalid)
		other = take
		other.QuoteID = "quo_no"
		_, err = c.Deploy(t.Context(), anna, other)
		wantFault(t, "an unknown quote", err, fault.NotFound)

		take.RequestID = "once"
		made, err := c.Deploy(t.Context(), anna, take)
		c.must("Deploy", err)
		want(t, "price of the VM", c.stored(made[0].ID).Price, price)
		want(t, "balance after", c.free(anna), 96*price)
		want(t, "used after", c.used(), room(2))
		again, err := c.Deploy(t.Context(), anna, take)
		c.must("the request again", err)
		want(t, "its answer", again, made)
		take.RequestID = "twice"
		_, err = c.Deploy(t.Context(), anna, take)
		wantFault(t, "a quote twice", err, fault.Conflict)
		c.clock.advance(time.Hour)
		c.must("ExpireQuotes", second(c.ExpireQuotes(t.Context())))
		want(t, "used when all quotes have expired", c.used(), room(2))
		c.audit()
	})
}

func second[T any](_ T, err error) error { return err }

// A quote is no way onto a server that sells nothing any more.
func TestQuoteOfClosedServer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		anna := c.account("Anna", 100*price)
		quote, err := c.Quote(t.Context(), anna, wish(1), time.Minute)
		c.must("Quote", err)
		_, err = c.Cordon(t.Context(), operator, "Nord", a.id)
		c.must("Cordon", err)
		take := wish(1)
		take.QuoteID = quote.ID
		_, err = c.Deploy(t.Context(), anna, take)
		wantFault(t, "a quote for a cordoned server", err, fault.Conflict)
		want(t, "balance", c.free(anna), 100*price)
		c.audit()
	})
}

// A quote that nobody uses gives its places back.
func TestQuoteExpires(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(2))
		anna := c.account("Anna", 100*price)
		quote, err := c.Quote(t.Context(), anna, wish(2), control.LongestQuote)
		c.must("Quote", err)
		c.clock.advance(control.LongestQuote - time.Microsecond)
		c.must("ExpireQuotes", second(c.ExpireQuotes(t.Context())))
		want(t, "used before it expires", c.used(), room(2))
		c.clock.advance(time.Microsecond)
		take := wish(2)
		take.QuoteID = quote.ID
		_, err = c.Deploy(t.Context(), anna, take)
		wantFault(t, "a quote that has expired", err, fault.Conflict)
		first := c.Service
		c.restart() // another replica notices it at the same time
		for _, err := range together(2, func(i int) error {
			return second([]*control.Service{first, c.Service}[i].ExpireQuotes(t.Context()))
		}) {
			c.must("ExpireQuotes", err)
		}
		want(t, "used", c.used(), capacity.Vector{})
		made, err := c.Deploy(t.Context(), anna, wish(2))
		c.must("Deploy", err)
		want(t, "VMs", len(made), 2)
	})
}

// An account holds so much and no more.
func TestQuoteLimits(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(300))
		anna, bert := c.account("Anna", 0), c.account("Bert", 0)
		for _, hold := range []time.Duration{0, time.Minute - 1, control.LongestQuote + 1, -time.Hour} {
			wantFault(t, hold.String(), second(c.Quote(t.Context(), anna, wish(1), hold)), fault.Invalid)
		}
		wantFault(t, "101 VMs", second(c.Quote(t.Context(), anna, wish(101), time.Minute)), fault.Exhausted)
		wantFault(t, "no place", second(c.Quote(t.Context(), anna, control.Deployment{Instances: 1, Constraints: market.Constraints{Countries: []string{"FR"}}}, time.Minute)), fault.Unsatisfiable)
		for range 10 {
			c.must("Quote", second(c.Quote(t.Context(), anna, wish(1), time.Minute)))
		}
		wantFault(t, "an eleventh", second(c.Quote(t.Context(), anna, wish(1), time.Minute)), fault.Exhausted)
		c.must("Quote by another", second(c.Quote(t.Context(), bert, wish(1), time.Minute)))
		want(t, "used", c.used(), room(11))
		c.clock.advance(time.Minute)
		c.must("Quote once they have expired", second(c.Quote(t.Context(), anna, wish(100), time.Minute)))
	})
}
