package market

import (
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Strategy says which of equally priced servers to prefer.
type Strategy string

// The strategies. Price always comes first.
const (
	Tightest Strategy = ""       // the server that is left with least; of several VMs each on another one
	Spread   Strategy = "spread" // the server with fewest VMs of the account
	Pack     Strategy = "pack"   // the server with most VMs of the account, filled before the next
)

// Check returns an Invalid fault unless s is one of the strategies.
func (s Strategy) Check() error {
	if s != Tightest && s != Spread && s != Pack {
		return fault.Newf(fault.Invalid, "strategy %.40q is neither %s nor %s", string(s), Spread, Pack)
	}
	return nil
}

// Request asks for places of VMs.
type Request struct {
	Constraints
	Instances int
	Strategy  Strategy
	// Apart keeps the VMs on different servers, and off those in Avoid.
	Apart bool
	Avoid map[uint32]bool
	// Only is the one server that will do; nil for any.
	Only *uint32
	// Load tells how many VMs the account has on a server; nil for none.
	Load func(number uint32) int
}

// Placement is the place of one VM.
type Placement struct {
	Offer         *Offer
	Server        uint32 // number
	Configuration Configuration
	StorageGiB    int64        // with what was added
	Price         money.Amount // per epoch, with what was added
}

// Demand returns what the VM takes of its server.
func (p Placement) Demand() capacity.Vector {
	return p.Configuration.Demand(p.StorageGiB - p.Configuration.StorageGiB)
}
