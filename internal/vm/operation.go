package vm

import (
	"cmp"
	"time"
)

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

// The names of results.
const (
	SnapshotResult = "snapshotId" // that is made, or restored
	ExportResult   = "exportId"   // that is restored
)

// About returns what an action is about that has just been asked for of v, by name; nil
// for v alone.
func (a Action) About(v VM) map[string]string {
	switch n := len(v.Snapshots); {
	case a == TakeSnapshot && n > 0:
		return map[string]string{SnapshotResult: v.Snapshots[n-1].ID}
	case a == Restore && IsExport(v.From):
		return map[string]string{ExportResult: v.From}
	case a == Restore:
		return map[string]string{SnapshotResult: v.From}
	}
	return nil
}

// Foiled returns why an agent can't do what o was for, "" while it may.
func (o Operation) Foiled(seen Sighting) string {
	if s, ok := seen.Snapshot(o.Result[SnapshotResult]); ok && o.Action == TakeSnapshot && s.State == SnapshotFailed {
		return cmp.Or(s.Reason, "the snapshot could not be made")
	}
	return ""
}

// Fulfilled reports whether what an agent sees of v is what o was for.
func (o Operation) Fulfilled(v VM, seen Sighting) bool {
	if o.Action == TakeSnapshot {
		s, ok := seen.Snapshot(o.Result[SnapshotResult])
		return ok && s.State == SnapshotThere
	}
	if v.Goal == Halt {
		return seen.Generation >= o.Generation && seen.Phase == Halted
	}
	return seen.Generation >= o.Generation && seen.Phase == Ready && seen.Disk == v.Boots()
}
