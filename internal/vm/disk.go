package vm

import (
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/hostkey"
)

// MaxKept is how many disks of a VM are kept at most beside the one that it has.
const MaxKept = 3

// RescueGiB is the size of the disk that a rescue image runs on. It lasts as long as
// the rescue.
const RescueGiB = 10

// Shelf is which disks a VM has. A disk has a number: 0 is the first one, each later
// one has the generation at which it was ordered, so that no number ever means
// another disk.
type Shelf struct {
	Disk   int64 `json:"disk,omitempty"`   // the one that is the VM's
	Turned int64 `json:"turned,omitempty"` // the generation at which Boots became another one; 0 once its agent has done that
	// TurnedAt is when it was last seen to run on another disk than before; zero for never.
	TurnedAt time.Time `json:"turned_at,omitzero"`
	// Heir is the number of the disk whose user data the disk gets that is to be made,
	// nil for what is ordered.
	Heir *int64 `json:"heir,omitempty"`
	// Purge are the disks that are to be purged. No other one ever is: one that is
	// not named is kept.
	Purge  []int64       `json:"purge,omitempty"`
	Rescue *RescueSystem `json:"rescue,omitempty"` // nil for a VM that isn't in rescue
}

// RescueSystem is what a VM runs in the place of its own disk, which it has as its second
// one meanwhile.
type RescueSystem struct {
	Disk     int64         `json:"disk"` // the number of the one that it runs on
	Image    string        `json:"image"`
	Checksum string        `json:"checksum,omitempty"`
	Key      string        `json:"key"` // the one SSH public key that logs in
	Since    time.Time     `json:"since,omitzero"`
	HostKeys []hostkey.Key `json:"host_keys,omitempty"` // of its SSH server; nil while they are not known
}

// Boots returns the number of the disk that the machine is to be started on.
func (s Shelf) Boots() int64 {
	if s.Rescue != nil {
		return s.Rescue.Disk
	}
	return s.Disk
}

// Turning reports whether v is still to be started on the disk that it was last asked to
// be started on, as far as its agent has told.
func (v VM) Turning() bool { return v.Turned != 0 }

// Kept returns the disk that v has as one that it had until this generation of v, and
// that holds what its size is.
func (v VM) Kept(now time.Time) KeptDisk {
	return KeptDisk{
		VMID: v.ID, Number: v.Disk, Parted: v.Generation, Image: v.Spec.Image, ImageChecksum: v.Spec.ImageChecksum, ImagePin: v.Spec.ImagePin,
		SSHKeys: v.Spec.SSHKeys, HostKeys: v.HostKeys, GiB: v.Spec.StorageGiB, Held: v.Spec.StorageGiB, Since: now,
	}
}

// Take has v run on a disk that it had, as it was asked for then, from this
// generation on.
func (v *VM) Take(d KeptDisk) {
	v.From = "" // which it was made of, if so
	v.Disk, v.Turned, v.Heir, v.UserData, v.HostKeys = d.Number, v.Generation, nil, "", d.HostKeys
	v.Spec.Image, v.Spec.ImageChecksum, v.Spec.ImagePin, v.Spec.SSHKeys = d.Image, d.ImageChecksum, d.ImagePin, d.SSHKeys
}

// WantPurged adds to the disks that are to be purged.
func (s *Shelf) WantPurged(n int64) {
	if !slices.Contains(s.Purge, n) {
		s.Purge = append(slices.Clone(s.Purge), n)
		slices.Sort(s.Purge)
	}
}

// Purges reports whether disk n is to be purged. What the VM runs on never is.
func (s Shelf) Purges(n int64) bool {
	return slices.Contains(s.Purge, n) && n != s.Disk && n != s.Boots()
}

// DiskSeen is a disk as its agent sees it.
type DiskSeen struct {
	Number int64 `json:"number"`
	Bytes  int64 `json:"bytes"` // that it takes of its server
}

// Has reports whether disk n was seen.
func (s Sighting) Has(n int64) bool {
	return slices.ContainsFunc(s.Disks, func(d DiskSeen) bool { return d.Number == n })
}

// KeptDisk is a disk that a VM had and can get back, with what was asked for it.
type KeptDisk struct {
	VMID          string
	Number        int64
	Parted        int64 // the generation since which the VM is to run on another one
	Image         string
	ImageChecksum string
	ImagePin      string
	SSHKeys       []string
	HostKeys      []hostkey.Key
	GiB           int64     // its size
	Held          int64     // what it holds of its server's storage, in GiB
	Since         time.Time // when the VM was asked to run on another one
	Until         time.Time // when it is purged; zero as long as the VM may still run on it
	Purging       bool      // its agent is asked to purge it
}
