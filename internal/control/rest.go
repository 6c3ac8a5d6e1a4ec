package control

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// resting are addresses that VMs have left a short while ago, by server, and the
// account whose each was. The internet still believes them to be the VM's that
// was: who connects to it must not reach a stranger, nor a stranger be taken for
// it. The same account may have one at once.
type resting map[string]map[netip.Addr]rest

type rest struct {
	account string
	until   time.Time
}

// restingOn reads what rests on servers.
func (b *batch) restingOn(ctx context.Context, servers []string) (resting, error) {
	if b.AddressRest <= 0 {
		return nil, nil
	}
	list, err := b.tx.RestingAddresses(ctx, servers, b.now.Add(-b.AddressRest))
	found := resting{}
	for _, r := range list {
		if found[r.ServerID] == nil {
			found[r.ServerID] = map[netip.Addr]rest{}
		}
		found[r.ServerID][r.Address] = rest{r.AccountID, r.Left.Add(b.AddressRest)} // the last one's, as the list is by time
	}
	return found, err
}

// keeps reports whether an account may not have an address yet.
func (r resting) keeps(server, accountID string, a netip.Addr) bool {
	was, rests := r[server][a]
	return rests && was.account != accountID
}

// has reports whether a VM was given an address that it may not have yet.
func (r resting) has(v vm.VM) bool { return r.keeps(v.ServerID, v.AccountID, v.Address) }

// soonest returns when the first of a server's addresses has rested.
func (r resting) soonest(server string) (first time.Time) {
	for _, one := range r[server] {
		if first.IsZero() || one.until.Before(first) {
			first = one.until
		}
	}
	return first
}

// RestingError refuses an order that nothing fits but servers whose free addresses all
// rest. It is the fault of an order that nothing fits.
type RestingError struct {
	error
	Until time.Time // when the first of them has rested
}

// Unwrap returns the fault.
func (e *RestingError) Unwrap() error { return e.error }

// whyNothing returns the refusal of a request that nothing fits without the servers
// whose addresses rest; where something does with them, it says until when.
func (b *batch) whyNothing(r market.Request, err error) error {
	placed, again := b.shelf.Place(r)
	var until time.Time
	for _, p := range placed {
		if one := b.resting[p.Server]; !one.IsZero() && (until.IsZero() || one.Before(until)) {
			until = one
		}
	}
	if again != nil || until.IsZero() {
		return err
	}
	return &RestingError{err, until}
}

// restingError says that all free addresses of a server rest: places are chosen
// again without it.
type restingError struct {
	server uint32
	until  time.Time // when the first of them has rested
}

// Error implements error.
func (e restingError) Error() string {
	return fmt.Sprintf("all free addresses of server %d rest", e.server)
}
