// Package vm knows what is wanted of a virtual machine, what is seen of it, and
// which state follows.
package vm

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/userdata"
)

// VM is a virtual machine that a customer asked for. Who writes what: Spec,
// Goal and Generation follow the customer's wish; Seen fields follow the
// agent's reports; State is what Next returns.
type VM struct {
	ID           string // 0x and 40 hex digits
	AccountID    string
	KeyID        string // the API key that deployed it; "" for one from before keys were remembered
	ServerID     string // where it was placed
	OfferID      string
	ProviderID   string
	DatacenterID string

	Name string // as the customer calls it; not unique
	Spec Spec

	Goal       Goal
	Generation int64 // raised by every change of what is wanted
	Reached    int64 // the generation that the agent has reached

	State    State
	Since    time.Time // of State
	Reason   string    // why it is in State, "" when there is nothing to explain
	Deadline time.Time // when a waiting state is given up; zero when nothing waits

	Address netip.Addr // taken at deploy, shown to the customer from Active on

	Price       money.Amount  // per epoch, of the one that goes on
	Cheaper     bool          // it costs what Rate says from the next epoch on, which is less
	Parts       Parts         // what of Price is for which resource
	Full        Parts         // what was agreed to for a whole epoch with its machine running and nothing held
	Spent       money.Amount  // charged until now
	Reserved    money.Amount  // what the VM's reserve holds
	Epoch       time.Duration // length of a billing period
	CreatedAt   time.Time
	ActivatedAt time.Time // zero until it was Active
	NextBilling time.Time // zero while nothing falls due
	Epochs      int64     // how many were charged
	Settled     int64     // how many of them its provider has for good
	EndedAt     time.Time // zero while it may still run
	// AffinityGroup keeps it off the servers where VMs of the same account and
	// group are; "" is none.
	AffinityGroup string
	Gone          bool      // its agent reported it absent, or its server is lost; its capacity is free again
	GoneAt        time.Time // since when its address rests

	Asks

	// Before are the ports that are open again at RevertAt, unless their change is
	// confirmed; the zero time for a change that is for good.
	Before   []Port
	RevertAt time.Time

	Power  Power           // whether its customer wants it to run
	Leaves capacity.Vector // what it takes of its server until it is resized; zero when it isn't being
	Held   int64           // GiB of its server's storage beside its disk: kept disks, snapshots

	// KeptUntil is when the disk of a VM that was deleted is purged; until then it
	// can be undeleted. Zero for one that isn't kept.
	KeptUntil time.Time

	Protected bool // its customer doesn't want it deleted

	Labels Labels // nil for none

	Trouble Trouble // what its agent could not do yet

	Operation string // what its customer does to it just now, by the operation's id; "" for nothing

	// UserData is what its guest is given to do at its first boot: its customer's
	// secret, which the store forgets once the VM was Active or is to be removed.
	UserData userdata.Text
	HostKeys []hostkey.Key // by which its SSH server is known; set once, nil while they are not known

	Limited bool // its account or API key has limits: what it is charged is counted

	Wish string // what was asked of its place, as control wrote it; "" once it needs no other one
	// KnownAs is what its server knows it as: the VM that was to be launched there
	// and is elsewhere by now. It is what that left behind, and belongs to no
	// account. "" for a VM that its server knows by its own id.
	KnownAs string
}

// OnServer returns the id by which its server knows the VM.
func (v VM) OnServer() string { return cmp.Or(v.KnownAs, v.ID) }

// Parts is what of a VM's price is for its vCPUs, its RAM, its storage and its
// address. They add up to the price; the zero value is not known.
type Parts [4]money.Amount

// Spec is what the customer wants to run.
type Spec struct {
	Hostname   string   `json:"hostname"`
	Image      string   `json:"image"`    // http(s) URL
	SSHKeys    []string `json:"ssh_keys"` // public key lines
	Ports      []Port   `json:"ports"`    // open ports, sorted
	VCPU       int64    `json:"vcpu"`
	RAMGiB     int64    `json:"ram_gib"`
	StorageGiB int64    `json:"storage_gib"` // of the one disk

	// ImageChecksum is what the image has to have as it is downloaded, "sha256:"
	// and 64 hex digits; "" for whatever is there. ImagePin is what it had when the
	// VM was first made of it: another place gets the same bytes, or none.
	ImageChecksum string `json:"image_checksum,omitempty"`
	ImagePin      string `json:"image_pin,omitempty"`
}

// PortsTag names the open ports as they are: whoever changes them can say which
// ones it has seen.
func (v VM) PortsTag() string {
	sum := sha256.New()
	for _, p := range v.Spec.Ports {
		fmt.Fprintf(sum, "%d/%s,", p.Number, p.Protocol)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// Demand returns what the VM takes of its server.
func (s Spec) Demand() capacity.Vector {
	return capacity.Vector{VCPU: s.VCPU, RAMGiB: s.RAMGiB, StorageGiB: s.StorageGiB, Addresses: 1}
}

// PaymentDue is the reason of a VM that is powered off until it is paid for.
const PaymentDue = "payment_due"

// Goal is what is wanted of a VM.
type Goal string

// The goals.
const (
	Run    Goal = "run"    // boot it and keep it running
	Halt   Goal = "halt"   // keep it powered off, with its disk and address
	Remove Goal = "remove" // end it and purge its disk: only ever by its customer, or after an announced time
)

// Asks is what is asked of an agent for a VM beside its spec: what is to be done
// once is named by the generation at which it was asked for, 0 for never.
type Asks struct {
	// Cut is when connections through closed ports are to be cut, by who has not
	// reached it.
	Cut int64 `json:"cut,omitempty"`
	// Restart is when the machine is to be started anew, by who has not started it
	// since. Abrupt says not to ask its guest.
	Restart int64 `json:"restart,omitempty"`
	Abrupt  bool  `json:"abrupt,omitempty"`
	// From is the snapshot, or the export, that the VM's disk is made of when it isn't there yet, "" for
	// the image of the spec.
	From string `json:"from,omitempty"`
	// Snapshots are what is wanted of the VM's snapshots.
	Snapshots []SnapshotAsk `json:"snapshots,omitempty"`
	// Exports are the snapshots that are to be stored outside of the server.
	Exports []ExportWish `json:"exports,omitempty"`
	Shelf
}

// Order asks the agent of one server for one VM. A list of orders is complete:
// it is all that should be on the server.
type Order struct {
	ID         string     `json:"id"`
	Generation int64      `json:"generation"`
	Goal       Goal       `json:"goal"`
	Address    netip.Addr `json:"address"`
	Asks
	// Tenant is the same for all VMs of one account on one server, and tells
	// nothing of who that is: images that are not public are kept apart by it.
	Tenant string `json:"tenant,omitempty"`
	// UserData is what the guest is given to do at its first boot. It is ordered
	// until the VM was Active; who follows the order keeps it as long as the disk.
	UserData userdata.Text `json:"user_data,omitempty"`
	Spec
}

// Order returns what the VM's agent is asked for.
func (v VM) Order() Order {
	o := Order{
		ID: v.OnServer(), Generation: v.Generation, Goal: v.Goal, Address: v.Address, Asks: v.Asks,
		UserData: v.UserData, Spec: v.Spec,
	}
	o.TurnedAt = time.Time{} // which is for customers, as is what is told of a rescue
	if r := v.Rescue; r != nil {
		o.Rescue = &RescueSystem{Disk: r.Disk, Image: r.Image, Checksum: r.Checksum, Key: r.Key}
	}
	return o
}

// Sighting is what an agent sees of one VM.
type Sighting struct {
	ID         string `json:"id"`
	Generation int64  `json:"generation"` // of the newest order that is fulfilled, 0 before the first
	Phase      Phase  `json:"phase"`
	Reason     string `json:"reason,omitempty"` // why it is Broken, or what it waits for
	// Elsewhere says of a Broken VM that another server may do better: nothing of
	// what its customer gave is at fault.
	Elsewhere bool   `json:"elsewhere,omitempty"`
	Done      int64  `json:"done,omitempty"`  // of what is being done, in percent; 0 where that is not known
	Image     string `json:"image,omitempty"` // checksum of the image that its disk was made of, "sha256:…"; "" before
	// HostKeys are the keys of its SSH server as its guest printed them at its
	// first boot; none before, and where the image prints none.
	HostKeys []hostkey.Key `json:"host_keys,omitempty"`
	// Snapshots are those that are ordered, and those that are there.
	Snapshots []SnapshotSeen `json:"snapshots,omitempty"`
	Exports   []ExportSeen   `json:"exports,omitempty"` // how far those are that are asked for
	// Disk is the number of the disk that its machine was last started on, of which
	// Image and HostKeys are.
	Disk  int64      `json:"disk,omitempty"`
	Disks []DiskSeen `json:"disks,omitempty"` // that are there, by number
	// Unmade is the number of the disk that is ordered and can't be had, Reason says
	// why; nil for none. The machine goes on with the disk that it has.
	Unmade *int64 `json:"unmade,omitempty"`
	// Retry says when what Reason tells of is tried again; nil when nothing is.
	Retry *Retry `json:"retry,omitempty"`
	Steps []Step `json:"steps,omitempty"` // everything that happened since the order came, oldest first
}

// Step is one line of a VM's story as its agent tells it. A step that goes on,
// such as a download, is told again under the same key with a newer text.
type Step struct {
	Key  string    `json:"key"` // unique within the VM
	At   time.Time `json:"at"`
	Text string    `json:"text"` // a sentence for the customer
}

// MaxSteps is how many steps of one VM a report may carry.
const MaxSteps = 64

// Event is one line of a VM's timeline.
type Event struct {
	At   time.Time
	Key  string // unique within the VM
	Text string
}
