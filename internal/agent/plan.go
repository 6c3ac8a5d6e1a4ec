package agent

import (
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Verb is what there is to do about one VM.
type Verb string

// The verbs.
const (
	Launch     Verb = "launch"     // make what is missing and start the machine
	Connect    Verb = "connect"    // make the network agree; the machine is left alone
	Restart    Verb = "restart"    // start the running machine anew
	Prepare    Verb = "prepare"    // make the disk that the running machine is to be started on
	Change     Verb = "change"     // start the running machine on another disk
	Purge      Verb = "purge"      // remove disks that it doesn't run on
	Watch      Verb = "watch"      // wait until the running machine answers
	Listen     Verb = "listen"     // wait until its guest has printed its host keys
	Halt       Verb = "halt"       // have the machine power off, keep its disk
	Remove     Verb = "remove"     // end the machine, purge its disk
	Save       Verb = "save"       // make a snapshot of its disk, whether it runs or not
	Discard    Verb = "discard"    // purge a snapshot
	Quarantine Verb = "quarantine" // leave it as it is, and tell
)

// waits reports whether the verb waits for something and changes nothing itself.
func (v Verb) waits() bool { return v == Watch || v == Listen }

// Task is one verb for one VM, with the order that it follows.
type Task struct {
	Verb  Verb
	ID    string
	Order vm.Order  // empty for Quarantine
	Begun time.Time // when the VM's machine was first started, zero if it never was

	Snapshot vm.SnapshotAsk // that Save and Discard are about
}

// aside reports whether the verb is done beside the others, which change the machine.
func (v Verb) aside() bool { return v == Save || v == Discard }

// key names what a task is one at a time of.
func (t Task) key() string {
	if t.Verb.aside() {
		return asideKey(t.ID)
	}
	return t.ID
}

// asideKey is that of what is done to a VM beside the rest.
func asideKey(id string) string { return id + "/aside" }

// Sight is what is seen of one VM on this server.
type Sight struct {
	ID         string
	Files      bool             // it has a folder, and so maybe a disk
	Link       *network.Link    // nil when the network knows none
	Machine    hypervisor.State // "" when the hypervisor knows none
	Generation int64            // of the newest order fulfilled
	Begun      time.Time        // when its machine was first started
	Started    bool             // its machine was started at some time
	Ready      bool             // its machine has answered since it was started
	Heard      bool             // its host keys are known, or will not be
	Asked      time.Time        // when its guest was asked to power off; zero once it has, or need not
	Restarted  int64            // the restart that was last fulfilled, by its generation
	Broken     bool             // trying again will not help
	Disk       int64            // the number of the disk that its machine was last started on
	Disks      []int64          // the disks that are there, by number
	Unmade     *int64           // the one that can't be had for a change, nil for none
	Tried      int64            // the generation that NotBefore is about
	NotBefore  time.Time        // when the next try is due
	Disked     bool             // it has had a machine, and so a disk
	Snapshots  []snapshot       // that are there, or were tried
}

// Exists reports whether anything of the VM is on the server.
func (s Sight) Exists() bool { return s.Files || s.Link != nil || s.Machine != "" }

// boots returns the number of the disk that the machine is started on now. One that is
// there runs on the disk that it has until the other one is there as well, and
// an order from before the last one changes nothing.
func (s Sight) boots(o vm.Order) int64 {
	n := o.Boots()
	if len(s.Disks) > 0 && (o.Generation < s.Generation || !slices.Contains(s.Disks, n)) {
		return s.Disk
	}
	return n
}

// wants reports whether the machine is to be on another disk than it is, which
// may still have to be made.
func (s Sight) wants(o vm.Order) bool {
	return o.Boots() != s.Disk && o.Generation >= s.Generation && (s.Unmade == nil || *s.Unmade != o.Boots())
}

// purges returns the disks that o has purged. None is as long as the VM's own one
// isn't there, nor by an order from before the last one.
func (s Sight) purges(o vm.Order) (list []int64) {
	if o.Generation < s.Generation || !slices.Contains(s.Disks, o.Disk) {
		return nil
	}
	for _, n := range s.Disks {
		if o.Purges(n) && n != s.Disk {
			list = append(list, n)
		}
	}
	return list
}

// leaving reports whether the machine may be about to power off at now, because
// it was asked to a short while ago.
func (s Sight) leaving(now time.Time) bool {
	since := now.Sub(s.Asked)
	return !s.Asked.IsZero() && since >= 0 && since < offTime
}

// Plan compares what is wanted with what is seen and returns what there is to
// do at now, at most one task for each VM. A VM that nobody asked for is kept,
// not ended: the list may come from a restored database, and only an order to
// remove this very VM may cost a disk.
func Plan(now time.Time, wanted []vm.Order, seen []Sight) []Task {
	sights := make(map[string]Sight, len(seen))
	for _, s := range seen {
		sights[s.ID] = s
	}
	var tasks []Task
	for _, o := range wanted {
		if v := next(now, o, sights[o.ID]); v != "" {
			tasks = append(tasks, Task{Verb: v, ID: o.ID, Order: o, Begun: sights[o.ID].Begun})
		}
		if v, ask := sights[o.ID].snapshots(now, o); v != "" {
			tasks = append(tasks, Task{Verb: v, ID: o.ID, Order: o, Snapshot: ask})
		}
		delete(sights, o.ID)
	}
	for _, s := range seen {
		if _, unknown := sights[s.ID]; unknown && s.Exists() {
			tasks = append(tasks, Task{Verb: Quarantine, ID: s.ID})
		}
	}
	slices.SortStableFunc(tasks, func(a, b Task) int {
		switch first, second := a.again(), b.again(); {
		case first && second:
			return a.Begun.Compare(b.Begun)
		case first:
			return -1
		case second:
			return 1
		}
		return 0
	})
	return tasks
}

// again reports whether the task is to start a machine that ran before.
func (t Task) again() bool { return t.Verb == Launch && !t.Begun.IsZero() }

// next returns what order o asks for in sight of s, "" for nothing.
func next(now time.Time, o vm.Order, s Sight) Verb {
	// A wait that is longer than any comes of a clock that was set back.
	wait := s.NotBefore.Sub(now)
	due := s.Tried != o.Generation || wait <= 0 || wait > lastRetry
	running := s.Machine == hypervisor.Running
	switch o.Goal {
	case vm.Remove:
		if due && (s.Exists() || s.Generation != o.Generation) {
			return Remove
		}
	case vm.Halt:
		if due && (s.Machine != "" || s.Generation != o.Generation) {
			return Halt
		}
		if due && len(s.purges(o)) > 0 {
			return Purge
		}
	case vm.Run:
		other := s.wants(o)
		switch {
		case running && s.leaving(now):
			return "" // asked to power off by an order before this one: it is launched once it has, or goes on
		case running && due && o.Restart > s.Restarted:
			return Restart
		case running && due && other && slices.Contains(s.Disks, o.Boots()):
			return Change
		case running && due && (s.Generation != o.Generation && o.Boots() == s.Disk || !s.Asked.IsZero() || !agrees(s.Link, o)):
			return Connect
		case running && due && other:
			return Prepare
		case running && due && len(s.purges(o)) > 0:
			return Purge
		case running && !s.Ready:
			return Watch
		case running && !s.Heard:
			return Listen
		case !running && !s.Broken && due:
			return Launch
		}
	}
	return ""
}

// agrees reports whether l has the address and the open ports of o.
func agrees(l *network.Link, o vm.Order) bool {
	if l == nil || l.Address != o.Address {
		return false
	}
	return slices.Equal(l.Sorted().Ports, linkOf(o).Sorted().Ports)
}

// phase returns how far the VM of order o has come. A machine that is on its way
// out runs, but is never told as ready: its customer must not be shown it as
// such, nor pay for it.
func phase(o vm.Order, s Sight) vm.Phase {
	running := s.Machine == hypervisor.Running
	switch {
	case o.Goal == vm.Remove && !s.Exists():
		return vm.Absent
	case o.Goal == vm.Halt && !running:
		return vm.Halted
	case running && s.Ready && s.Asked.IsZero() && o.Goal != vm.Halt:
		return vm.Ready
	case running:
		return vm.Booting
	case s.Broken:
		return vm.Broken
	case s.Started:
		return vm.Booting // it stopped and is about to be started again
	}
	return vm.Preparing
}
