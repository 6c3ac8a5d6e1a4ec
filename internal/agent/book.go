package agent

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// book is what the agent knows: the list it follows and an entry for each VM.
// The keeper and its workers write what they see and do, the courier writes
// the list and reads the report.
type book struct {
	folder *folder
	log    *slog.Logger
	now    func() time.Time

	mu       sync.Mutex
	list     vm.List
	entries  map[string]*entry
	unsaved  map[string]bool    // VMs whose record the disk did not take
	unlisted bool               // nor did it take the list
	measured *capacity.Measured // the newest benchmark; what it points to never changes
	version  int64              // of what a report would say
	changed  chan struct{}      // closed when version rises
	wake     chan struct{}      // tells the keeper to look and plan
	looked   chan struct{}      // closed when the server was seen for the first time
}

// openBook reads what the folder keeps. What can't be read is told to the
// operator and taken as not there: a running VM is worth more than its story.
func openBook(ctx context.Context, f *folder, log *slog.Logger, now func() time.Time) (*book, error) {
	b := &book{
		folder: f, log: log, now: now, entries: map[string]*entry{}, unsaved: map[string]bool{},
		changed: make(chan struct{}), wake: make(chan struct{}, 1), looked: make(chan struct{}),
	}
	if _, err := f.read(listFile, &b.list); err != nil {
		log.ErrorContext(ctx, "last list of orders lost", "error", err)
		b.list = vm.List{}
	}
	if kept, err := f.read(measuredFile, &b.measured); err != nil || !kept {
		if err != nil {
			log.ErrorContext(ctx, "last benchmark lost", "error", err)
		}
		b.measured = nil
	}
	ids, err := f.vmIDs()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		e := &entry{files: true}
		seen, err := f.snapshots(id)
		if err != nil {
			log.ErrorContext(ctx, "snapshots of a vm can't all be seen", "vm_id", id, "error", err)
		}
		for _, s := range seen {
			e.snapshots = append(e.snapshots, snapshot{SnapshotSeen: s})
		}
		if _, err := f.read(recordName(id), &e.record); err != nil {
			log.ErrorContext(ctx, "record of a vm lost", "vm_id", id, "error", err)
			e.record = record{}
		}
		if err := e.lookFor(f, id); err != nil {
			log.ErrorContext(ctx, "disks of a vm can't be seen", "vm_id", id, "error", err)
		}
		b.entries[id] = e
	}
	return b, nil
}

// follow makes l the list of what is wanted. It is kept first, so that a
// restart while the control plane is away goes on with it.
func (b *book) follow(ctx context.Context, l vm.List) {
	l.Orders = b.sound(ctx, l.Orders)
	err := b.folder.write(listFile, l, true)
	if err != nil {
		b.log.ErrorContext(ctx, "list of orders not kept yet", "error", err)
	}
	b.mu.Lock()
	b.list, b.unlisted = l, err != nil
	b.bump()
	b.mu.Unlock()
	b.rouse()
}

// sound leaves out orders whose id can't be a folder's name, and doubles.
func (b *book) sound(ctx context.Context, orders []vm.Order) []vm.Order {
	seen := map[string]bool{}
	return slices.DeleteFunc(orders, func(o vm.Order) bool {
		bad := !idPattern.MatchString(o.ID) || seen[o.ID] ||
			slices.ContainsFunc(o.Snapshots, func(a vm.SnapshotAsk) bool { return !snapshotPattern.MatchString(a.ID) })
		if bad {
			b.log.ErrorContext(ctx, "order not understood", "vm_id", o.ID)
		}
		seen[o.ID] = true
		return bad
	})
}

// update changes the entry of a VM, keeps its record, and has the report sent
// if it says something new.
func (b *book) update(ctx context.Context, id string, change func(*entry)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	if e == nil {
		e = &entry{}
		b.entries[id] = e
	}
	before := *e
	before.Steps = slices.Clone(e.Steps)
	change(e)
	if reflect.DeepEqual(before, *e) {
		return
	}
	b.bump()
	if e.files && !reflect.DeepEqual(before.record, e.record) {
		b.keep(ctx, id, e)
	}
}

// snapshot changes what is known of a VM's snapshot.
func (b *book) snapshot(ctx context.Context, vmID, id string, change func(*snapshot)) {
	b.update(ctx, vmID, func(e *entry) {
		list := slices.Clone(e.snapshots)
		i, found := slices.BinarySearchFunc(list, id, func(s snapshot, id string) int { return strings.Compare(s.ID, id) })
		if !found {
			list = slices.Insert(list, i, snapshot{SnapshotSeen: vm.SnapshotSeen{ID: id, State: vm.SnapshotWaits}})
		}
		change(&list[i])
		list[i].ID = id
		e.snapshots = list
	})
}

// tell adds to the story of a VM.
func (b *book) tell(ctx context.Context, id, key, text string) {
	b.update(ctx, id, func(e *entry) { e.tell(key, b.now(), text) })
}

// look takes in what the drivers see, but for the VMs that busy names: their
// workers know better than a list that was read meanwhile.
func (b *book) look(ctx context.Context, machines []hypervisor.Instance, links []network.Link, busy func(id string) bool) {
	seen := map[string]hypervisor.Instance{}
	linked := map[string]*network.Link{}
	for _, m := range machines {
		seen[m.ID] = m
	}
	for _, l := range links {
		linked[l.ID] = &l
	}
	for _, id := range b.known(seen, linked) {
		if busy(id) {
			continue
		}
		b.update(ctx, id, func(e *entry) { e.machine, e.link = seen[id].State, linked[id] })
	}
	b.forget(busy)
	select {
	case <-b.looked:
	default:
		close(b.looked)
	}
}

// known returns the ids of all VMs that the book or a driver knows.
func (b *book) known(machines map[string]hypervisor.Instance, links map[string]*network.Link) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := map[string]bool{}
	for id := range b.entries {
		ids[id] = true
	}
	for id := range machines {
		ids[id] = true
	}
	for id := range links {
		ids[id] = true
	}
	all := make([]string, 0, len(ids))
	for id := range ids {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}

// forget drops the entries of which nothing is left and nothing is wanted.
func (b *book) forget(busy func(id string) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	wanted := map[string]bool{}
	asked := map[string]bool{}
	for _, o := range b.list.Orders {
		wanted[o.ID] = true
		for _, a := range o.Snapshots {
			asked[a.ID] = true
		}
	}
	for id, e := range b.entries {
		if !wanted[id] && !e.sight(id).Exists() && !busy(id) {
			delete(b.entries, id)
			b.bump()
		}
		e.snapshots = slices.DeleteFunc(slices.Clone(e.snapshots), func(s snapshot) bool { return s.State == vm.SnapshotGone && !asked[s.ID] })
	}
}

// state returns what Plan is asked with.
func (b *book) state() (wanted []vm.Order, seen []Sight) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, e := range b.entries {
		seen = append(seen, e.sight(id))
	}
	slices.SortFunc(seen, func(a, c Sight) int { return compareID(a.ID, c.ID) })
	return b.list.Orders, seen
}

// report returns all that there is to tell, the list it is told under, and a
// channel that is closed when there is more.
func (b *book) report() (all []vm.Sighting, list vm.List, version int64, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all = []vm.Sighting{}
	wanted := map[string]bool{}
	for _, o := range b.list.Orders {
		wanted[o.ID] = true
		e := b.entries[o.ID]
		if e == nil {
			e = &entry{}
		}
		all = append(all, e.sighting(o.ID, &o))
	}
	for id, e := range b.entries {
		if !wanted[id] && e.sight(id).Exists() {
			all = append(all, e.sighting(id, nil))
		}
	}
	slices.SortFunc(all, func(a, c vm.Sighting) int { return compareID(a.ID, c.ID) })
	return all, b.list, b.version, b.changed
}

// inventory returns inv with the newest benchmark.
func (b *book) inventory(inv capacity.Inventory) capacity.Inventory {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.measured != nil {
		inv.Measured = b.measured
	}
	return inv
}

// get returns a copy of a VM's entry.
func (b *book) get(id string) entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[id]; e != nil {
		return *e
	}
	return entry{}
}

// bump says that a report would say something new; mu is held.
func (b *book) bump() {
	b.version++
	close(b.changed)
	b.changed = make(chan struct{})
}

// rouse has the keeper look and plan.
func (b *book) rouse() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}
