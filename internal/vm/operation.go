package vm

import "time"

// Operation is an action that takes its time. At most one of a VM goes on.
type Operation struct {
	ID         string // op_ and 26 characters
	VMID       string
	AccountID  string
	Action     Action
	Generation int64 // of the VM at which it is fulfilled
	Begun      time.Time
	Deadline   time.Time // when it is given up
	Ended      time.Time // zero while it goes on
	Error      string    // why it failed, and what to do; "" while it goes on, and for one that succeeded
}

// Outcome is how far an operation is.
type Outcome string

// The outcomes.
const (
	Running   Outcome = "running"
	Succeeded Outcome = "succeeded"
	Failed_   Outcome = "failed"
)
