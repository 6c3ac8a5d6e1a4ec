package vm

import (
	"time"

	"github.com/cpucloud/cpucloud/internal/hostkey"
)

// MaxSnapshots is how many snapshots of one VM there are at most.
const MaxSnapshots = 16

// Snapshot is a copy of a VM's disk as it was at one moment, kept on its server.
type Snapshot struct {
	ID        string // snap_ and 26 characters
	VMID      string
	AccountID string
	ServerID  string // where it is, and what is made of it
	Name      string // as the customer calls it; not unique
	Operation string // that makes it
	Scheduled bool   // by a schedule, which may delete it
	Disk      int64  // the number of the disk that it is of
	CreatedAt time.Time

	State   SnapshotState
	Reason  string // why it is Failed
	Percent int64  // of it that is copied, as long as it is Making
	HeldGiB int64  // of its server's storage, for as long as the VM is there

	// As its agent tells them; zero until it is Available.
	At           time.Time // the moment
	Bytes        int64     // of its file
	VirtualBytes int64     // of the disk
	Checksum     string    // of its file, "sha256:" and 64 hex digits
	Consistency  string    // "crash" or "filesystem"

	// What the VM was then.
	Image    string
	HostKeys []hostkey.Key
}

// SnapshotState is how far a snapshot has come.
type SnapshotState string

// The states, and who moves a snapshot on from each.
const (
	Making    SnapshotState = "making"    // its agent, or the operation's deadline
	Available SnapshotState = "available" // its customer, its schedule, or the end of its VM
	Spoiled   SnapshotState = "failed"    // could not be made; nothing of it is left once its agent has said so
	Discarded SnapshotState = "deleting"  // its agent purges it; then there is no record of it any more
)

// SnapshotAsk is what is wanted of one snapshot on its server.
type SnapshotAsk struct {
	ID   string       `json:"id"`
	Disk int64        `json:"disk,omitempty"` // the number of the disk that it is of
	Goal SnapshotGoal `json:"goal"`
}

// SnapshotGoal is what is wanted of a snapshot.
type SnapshotGoal string

// The goals. A snapshot that is not named is kept, and not made.
const (
	KeepSnapshot  SnapshotGoal = "keep"  // make it once, and keep it
	PurgeSnapshot SnapshotGoal = "purge" // see to it that nothing of it is there
)

// SnapshotSeen is a snapshot as its agent sees it.
type SnapshotSeen struct {
	ID    string        `json:"id"`
	State SnapshotPhase `json:"state"`
	// Of one that is there.
	At           time.Time `json:"at,omitzero"`
	Bytes        int64     `json:"bytes,omitempty"`
	VirtualBytes int64     `json:"virtual_bytes,omitempty"`
	Checksum     string    `json:"checksum,omitempty"` // "sha256:…" of its file
	Consistency  string    `json:"consistency,omitempty"`

	Percent int64  `json:"percent,omitempty"` // of one that is on its way
	Reason  string `json:"reason,omitempty"`  // why it can't be made, or what it waits for
}

// SnapshotPhase is how far a snapshot has come on its server.
type SnapshotPhase string

// The phases that an agent reports.
const (
	SnapshotWaits  SnapshotPhase = "waiting" // it is not begun, or is begun again
	SnapshotMade   SnapshotPhase = "making"
	SnapshotThere  SnapshotPhase = "there"
	SnapshotFailed SnapshotPhase = "failed" // it can't be made; nothing of it is left
	SnapshotGone   SnapshotPhase = "gone"   // nothing of it is there, as it was wanted
)
