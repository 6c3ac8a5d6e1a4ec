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

	Step   string            // what is done just now, or was done last, as its agent tells it
	Done   int64             // how much of it, in percent as far as that is known
	Result map[string]string // what came of it, by name; nil for nothing that would be told
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

// Fulfilled reports whether what an agent sees of v is what o was for.
func (o Operation) Fulfilled(v VM, seen Sighting) bool {
	if v.Goal == Halt {
		return seen.Generation >= o.Generation && seen.Phase == Halted
	}
	return seen.Generation >= o.Generation && seen.Phase == Ready && seen.Disk == v.Boots()
}
