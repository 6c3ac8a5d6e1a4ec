package vm

import "time"

// Operation is an action that takes its time. At most one of a VM goes on.
type Operation struct {
	ID         string // op_ and 26 characters
	VMID       string
	AccountID  string
	RequestID  string // of the request that asked for it, "" for none
	Action     Action
	Generation int64 // of the VM at which it is fulfilled
	Begun      time.Time
	Deadline   time.Time // when it is given up
	Ended      time.Time // zero while it goes on
	Error      string    // why it failed, and what to do; "" for one that did not
	Subject    string    // what it is about beside the VM, such as a snapshot; "" for nothing
	Percent    int64     // how far it has come, as far as that is known; not stored
}

// Outcome is what has come of an operation.
type Outcome string

// The outcomes.
const (
	Going     Outcome = "running"
	Succeeded Outcome = "succeeded"
	GaveUp    Outcome = "failed"
)

// Outcome returns what has come of o.
func (o Operation) Outcome() Outcome {
	switch {
	case o.Ended.IsZero():
		return Going
	case o.Error != "":
		return GaveUp
	}
	return Succeeded
}

// Fulfilled reports whether what an agent sees is what o was for.
func (o Operation) Fulfilled(seen Sighting) bool {
	return seen.Generation >= o.Generation && seen.Phase == Ready
}
