package agent

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// record is what the agent keeps of one VM besides its disk. All of it but the
// story can be found out again, so that losing it costs time and nothing else.
type record struct {
	Generation int64 `json:"generation"`
	past
	Started   time.Time `json:"started,omitzero"` // when the machine was last started
	Restarts  int       `json:"restarts,omitempty"`
	Restarted int64     `json:"restarted,omitempty"` // the newest order to restart that is fulfilled, by its generation
	Asked     time.Time `json:"asked,omitzero"`      // when its guest was asked to power off, as long as it may obey
	Halted    bool      `json:"halted,omitempty"`    // powered off by an order since it was last started
	Resumes   int       `json:"resumes,omitempty"`   // how often it was started after that
	Ready     bool      `json:"ready"`
	Broken    bool      `json:"broken"`
	Elsewhere bool      `json:"elsewhere,omitempty"` // it is Broken, and another server may do better
	Reason    string    `json:"reason,omitempty"`
	Tried     int64     `json:"tried"`
	Attempt   int       `json:"attempt"`
	NotBefore time.Time `json:"not_before,omitzero"`
	Steps     []vm.Step `json:"steps"`
	Turned    bool      `json:"turned,omitempty"` // on another disk than when it was last started
	Unmade    *int64    `json:"unmade,omitempty"` // number of the disk that can't be had for a change, for Reason
	// Aside is what is known of the disks that the machine ran on before.
	Aside map[int64]past `json:"aside,omitempty"`
}

// past is what is known of a disk and the machine that ran on it.
type past struct {
	Begun    time.Time     `json:"begun,omitzero"`      // when the machine was started on it for the first time
	HostKeys []hostkey.Key `json:"host_keys,omitempty"` // that its guest printed at its first boot
	Heard    bool          `json:"heard,omitempty"`     // nobody listens for them any more
	Image    string        `json:"image,omitempty"`     // checksum of what it was made of, "sha256:…"
}

const (
	firstRetry = time.Second
	lastRetry  = vm.LongestRetry
	calm       = 10 * time.Minute // without a try makes the next one a first one
)

// settle notes the end of a try for a generation: the next may follow only
// after a delay that doubles from try to try. A success waits as well, or a
// guest that crashes at once would be started without a pause.
func (r *record) settle(generation int64, now time.Time) {
	if r.Tried != generation || now.Sub(r.NotBefore) > calm {
		r.Attempt = 0
	}
	delay := lastRetry
	if r.Attempt < 9 { // 2⁹ s are more than the last delay
		delay = min(firstRetry<<r.Attempt, lastRetry)
	}
	r.Tried, r.NotBefore = generation, now.Add(delay)
	r.Attempt++
}

// tell adds a step to the story, or tells the one with this key anew.
func (r *record) tell(key string, at time.Time, text string) {
	step := vm.Step{Key: key, At: at.UTC(), Text: text}
	if i := slices.IndexFunc(r.Steps, func(s vm.Step) bool { return s.Key == key }); i >= 0 {
		r.Steps[i] = step
		return
	}
	r.Steps = append(r.Steps, step)
	if len(r.Steps) > vm.MaxSteps {
		r.Steps = slices.Delete(r.Steps, 0, len(r.Steps)-vm.MaxSteps)
	}
}

// entry is a VM as the agent knows it: what it keeps and what it last saw.
type entry struct {
	record
	Disk        int64 // the number of the disk that the machine was last started on; kept by itself, see changeTo
	files       bool
	disks       []vm.DiskSeen
	link        *network.Link
	machine     hypervisor.State
	quarantined bool
	snapshots   []snapshot      // ordered by id; kept by themselves
	exports     []vm.ExportSeen // of those that are asked for
}

// begun returns when the machine was first started, as far as that is known.
func (e *entry) begun() time.Time {
	if e.Begun.IsZero() { // an older agent kept the last start alone
		return e.Started
	}
	return e.Begun
}

// turn has the machine be on disk n.
func (e *entry) turn(n int64, now time.Time) {
	aside := maps.Clone(e.Aside)
	if aside == nil {
		aside = map[int64]past{}
	}
	if !e.Begun.IsZero() || e.Image != "" {
		aside[e.Disk] = e.past
	}
	next := aside[n]
	if next.Begun.IsZero() {
		next.Begun = now
	}
	delete(aside, n)
	e.Aside, e.past, e.Disk, e.Turned, e.Ready, e.Unmade = aside, next, n, true, false, nil
}

// fetched notes the checksum of what disk n is made of.
func (e *entry) fetched(n int64, checksum string) {
	if n == e.Disk {
		e.Image = checksum
		return
	}
	aside := maps.Clone(e.Aside)
	if aside == nil {
		aside = map[int64]past{}
	}
	p := aside[n]
	p.Image = checksum
	aside[n], e.Aside = p, aside
}

// lookFor finds the disks of a VM. Where it isn't known which one its machine was
// last started on, it is taken to be the newest.
func (e *entry) lookFor(f *folder, id string) (err error) {
	if e.disks, err = f.disks(id); err != nil {
		return err
	}
	if e.Disk, err = f.current(id); err != nil && len(e.disks) > 0 {
		e.Disk = e.disks[len(e.disks)-1].Number
	}
	return err
}

// restarted says on what the machine of o was started anew.
func (e *entry) restarted(o vm.Order) string {
	switch {
	case o.Rescue != nil && e.Disk == o.Rescue.Disk:
		return "restarted on the rescue image, with its own disk as the second one"
	case e.Disk == o.Disk:
		return fmt.Sprintf("restarted on disk %d", e.Disk)
	}
	return fmt.Sprintf("restarted on disk %d, as the other one is not there yet", e.Disk)
}

func (e *entry) sight(id string) Sight {
	numbers := make([]int64, len(e.disks))
	for i, d := range e.disks {
		numbers[i] = d.Number
	}
	return Sight{
		Disk: e.Disk, Disks: numbers, Unmade: e.Unmade,
		ID: id, Files: e.files, Link: e.link, Machine: e.machine, Generation: e.Generation,
		Disked: !e.begun().IsZero() || e.machine != "", Snapshots: e.snapshots,
		Begun: e.begun(), Started: !e.Started.IsZero(), Ready: e.Ready, Heard: e.Heard, Asked: e.Asked, Restarted: e.Restarted, Broken: e.Broken, Tried: e.Tried, NotBefore: e.NotBefore,
	}
}

// sighting returns what is reported of the VM; o is nil when nobody asked for it.
func (e *entry) sighting(id string, o *vm.Order) vm.Sighting {
	s := vm.Sighting{
		ID: id, Generation: e.Generation, Phase: vm.Quarantined, Reason: e.Reason, Steps: slices.Clone(e.Steps), HostKeys: slices.Clone(e.HostKeys), Image: e.Image,
		Disk: e.Disk, Disks: slices.Clone(e.disks),
	}
	if o == nil {
		return s
	}
	s.Phase = phase(*o, e.sight(id))
	s.Snapshots = e.snapshotsSeen(o.Snapshots)
	s.Exports = slices.Clone(e.exports)
	if e.Unmade != nil && *e.Unmade == o.Boots() {
		s.Unmade = e.Unmade
	}
	s.Elsewhere = s.Phase == vm.Broken && e.Elsewhere
	s.Retry = e.retry(*o, s.Phase)
	if s.Phase == vm.Booting && e.machine != hypervisor.Running && s.Reason == "" {
		s.Reason = "the machine stopped and will be started again"
		if e.Halted {
			s.Reason = "the machine was powered off and is started again"
		}
	}
	return s
}

// retry returns when the order is tried again that the agent could not follow, nil
// where nothing failed or nothing more is tried.
func (e *entry) retry(o vm.Order, p vm.Phase) *vm.Retry {
	stopped := p == vm.Booting && e.machine != hypervisor.Running
	if p == vm.Broken || e.Tried != o.Generation || e.NotBefore.IsZero() || e.Reason == "" && !stopped {
		return nil
	}
	r := &vm.Retry{Attempt: e.Attempt, At: e.NotBefore.UTC()}
	if o.Goal == vm.Run && e.Started.IsZero() {
		r.Of = launchTries
	}
	return r
}

func recordName(id string) string { return filepath.Join(vmsDir, id, recordFile) }
