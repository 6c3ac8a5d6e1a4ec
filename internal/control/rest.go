package control

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// resting are addresses that VMs have left a short while ago, by server, and the
// account whose each was. The internet still believes them to be the VM's that
// was: who connects to it must not reach a stranger, nor a stranger be taken for
// it. The same account may have one at once.
type resting map[string]map[netip.Addr]string

// restingOn reads what rests on servers.
func (b *batch) restingOn(ctx context.Context, servers []string) (resting, error) {
	if b.AddressRest <= 0 {
		return nil, nil
	}
	list, err := b.tx.RestingAddresses(ctx, servers, b.now.Add(-b.AddressRest))
	found := resting{}
	for _, r := range list {
		if found[r.ServerID] == nil {
			found[r.ServerID] = map[netip.Addr]string{}
		}
		found[r.ServerID][r.Address] = r.AccountID // the last one's, as the list is by time
	}
	return found, err
}

// keeps reports whether an account may not have an address yet.
func (r resting) keeps(server, accountID string, a netip.Addr) bool {
	was, rests := r[server][a]
	return rests && was != accountID
}

// has reports whether a VM was given an address that it may not have yet.
func (r resting) has(v vm.VM) bool { return r.keeps(v.ServerID, v.AccountID, v.Address) }

// restingError says that all free addresses of a server rest: places are chosen
// again without it.
type restingError struct{ server uint32 }

// Error implements error.
func (e restingError) Error() string {
	return fmt.Sprintf("all free addresses of server %d rest", e.server)
}
