package vm

import (
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// ErrCopied refuses the report of a machine whose identity another one has, too.
// It is a Conflict fault as that of a late report is; unlike that, it does not
// pass by itself, so both sides of the wire know it by this value.
var ErrCopied = fault.New(fault.Conflict, "this server's identity is used by another machine; let one of them join anew with a fresh data folder")

// Version says which list an agent follows.
type Version struct {
	Epoch    int64 `json:"epoch"`
	Revision int64 `json:"revision"`
}

// Report is all that an agent sees of its server at one moment.
type Report struct {
	// Sequence rises with every report of one server, over restarts too, so
	// that a replayed or late report is known for what it is.
	Sequence int64 `json:"sequence"`
	// Instance is made anew, at random, by every start of an agent. One that
	// comes back after another has spoken is a copy of the server's identity.
	Instance  string             `json:"instance,omitempty"`
	Inventory capacity.Inventory `json:"inventory"`
	Follows   Version            `json:"-"`   // told beside the report
	VMs       []Sighting         `json:"vms"` // complete; what is ordered away is told Absent once
}

// List is all that should be on one server.
type List struct {
	// Server is whom the list is for: no other agent may follow it.
	Server string `json:"server"`
	// Epoch counts the lives of the control plane's database: it rises when a
	// backup is restored. Revision rises with every change within an epoch.
	// An agent refuses a list that is older than the one it follows.
	Epoch    int64   `json:"epoch"`
	Revision int64   `json:"revision"`
	Orders   []Order `json:"orders"`
	// Measure counts how often a benchmark was asked for. An agent whose newest
	// one answers an earlier request takes another.
	Measure int64 `json:"measure,omitempty"`
}

// Older reports whether l was made before m.
func (l List) Older(m List) bool {
	return l.Epoch < m.Epoch || l.Epoch == m.Epoch && l.Revision < m.Revision
}
