package vm

import (
	"slices"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
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

// The goals. A snapshot that is not named is kept.
const (
	MakeSnapshot  SnapshotGoal = "make"  // make it once, and keep it
	KeepSnapshot  SnapshotGoal = "keep"  // keep it: another one is never made in its place
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
	SnapshotLost   SnapshotPhase = "lost"   // nothing of it is there, though it is to be kept
)

// Schedule has snapshots of a VM made: one every so often, of which so many are kept.
type Schedule struct {
	VMID  string
	Every time.Duration
	Keep  int64
	Next  time.Time // when the next one is due
	Told  string    // why the last one was left out, "" when it was not
}

// The bounds of a schedule.
const (
	ShortestSchedule = time.Hour
	LongestSchedule  = 31 * 24 * time.Hour
	MostScheduled    = MaxSnapshots - 1 // one is made before the oldest goes
)

// After returns when the one after now is due: those that were missed are left out.
func (s Schedule) After(now time.Time) time.Time {
	if s.Next.After(now) {
		return s.Next
	}
	missed := now.Sub(s.Next) / s.Every
	return s.Next.Add((missed + 1) * s.Every)
}

// Expired returns which of a VM's snapshots, oldest first, the schedule doesn't keep:
// the oldest of its own that are available, beyond as many as it keeps.
func (s Schedule) Expired(list []Snapshot) []Snapshot {
	var own []Snapshot
	for _, one := range list {
		if one.Scheduled && one.State == Available {
			own = append(own, one)
		}
	}
	return own[:max(0, len(own)-int(s.Keep))]
}

// Ask returns a with what is wanted of a snapshot changed to goal; another one's wishes
// stay what they are.
func (a Asks) Ask(id string, disk int64, goal SnapshotGoal) Asks {
	list := slices.Clone(a.Snapshots)
	i := slices.IndexFunc(list, func(s SnapshotAsk) bool { return s.ID == id })
	if i < 0 {
		list, i = append(list, SnapshotAsk{ID: id, Disk: disk}), len(list)
	}
	list[i].Goal = goal
	a.Snapshots = list
	return a
}

// Unask returns a without a snapshot of which nothing is left.
func (a Asks) Unask(id string) Asks {
	a.Snapshots = slices.DeleteFunc(slices.Clone(a.Snapshots), func(s SnapshotAsk) bool { return s.ID == id })
	return a
}

// Snapshot returns how a snapshot was seen; ok is false for one that was not.
func (s Sighting) Snapshot(id string) (seen SnapshotSeen, ok bool) {
	i := slices.IndexFunc(s.Snapshots, func(seen SnapshotSeen) bool { return seen.ID == id })
	if i < 0 {
		return seen, false
	}
	return s.Snapshots[i], true
}

// Check returns an Invalid fault that names the first thing that can't be in a schedule.
func (s Schedule) Check(now time.Time) error {
	switch {
	case s.Every < ShortestSchedule || s.Every > LongestSchedule:
		return fault.Newf(fault.Invalid, "a snapshot every %s can't be; choose 1h to 744h, such as 24h", s.Every)
	case s.Keep < 1 || s.Keep > MostScheduled:
		return fault.Newf(fault.Invalid, "%d snapshots can't be kept; choose 1 to %d", s.Keep, MostScheduled)
	case s.Next.Before(now):
		return fault.Newf(fault.Invalid, "the first snapshot can't be made at %s, which has passed", s.Next.Format(time.RFC3339))
	case s.Next.Sub(now) > LongestSchedule:
		return fault.Newf(fault.Invalid, "the first snapshot can't be made at %s, which is more than 31 days ahead", s.Next.Format(time.RFC3339))
	}
	return nil
}

// CheckSnapshotName returns an Invalid fault unless a snapshot can be called so: by letters, digits and hyphens.
func CheckSnapshotName(name string) error {
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, func(c rune) bool { return !isWordChar(c) }) {
		return fault.Newf(fault.Invalid, "snapshot name %q is not made of at most %d letters, digits and hyphens", clip(name), maxName)
	}
	return nil
}
