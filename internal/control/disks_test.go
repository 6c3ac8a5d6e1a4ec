package control_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/userdata"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	firstKey  = hostkey.Key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
	secondKey = hostkey.Key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBwVyhJAwCHMVJxhLPUZOuyFZQKNdgGWqI2ahVZO9wQ2")
	nextImage = "https://example.com/alpine.qcow2"
)

func sumOf(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// on is what is seen of a VM that is ready on a disk, with others beside it.
func (c *cloud) on(vmID string, disk int64, key hostkey.Key, others ...int64) vm.Sighting {
	c.t.Helper()
	s := vm.Sighting{
		ID: vmID, Generation: c.stored(vmID).Generation, Phase: vm.Ready, Disk: disk, Image: sumOf(fmt.Sprint(disk % 10)), HostKeys: []hostkey.Key{key},
	}
	numbers := append(slices.Clone(others), disk)
	slices.Sort(numbers)
	for _, n := range numbers {
		s.Disks = append(s.Disks, vm.DiskSeen{Number: n, Bytes: 1 << 20})
	}
	return s
}

// kept tells which disks of a VM are kept: "0 until 12:00, 4 purging".
func (c *cloud) kept(who account.Actor, vmID string) string {
	c.t.Helper()
	_, list, err := c.Disks(c.t.Context(), who, vmID)
	c.must("Disks", err)
	words := make([]string, len(list))
	for i, d := range list {
		words[i] = fmt.Sprintf("%d of %s", d.Number, d.Image)
		switch {
		case d.Purging:
			words[i] += ", purging"
		case !d.Until.IsZero():
			words[i] += ", until " + d.Until.Format(time.RFC3339)
		}
	}
	return strings.Join(words, "; ")
}

// A VM gets a new disk: what was asked for the old one goes with that, what its server
// knew of it is not believed any more, and the time for which it is kept begins once
// the VM runs on the new one. It gets the old one back as it was.
func TestReinstall(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(4))
		anna := c.account("Anna", 40*price)
		id := c.deploy(anna)
		c.must("Observe", a.sees(c.on(id, 0, firstKey)))
		before := c.stored(id)
		want(t, "known of the first", []any{before.Spec.ImagePin, before.HostKeys}, []any{sumOf("0"), []hostkey.Key{firstKey}})

		image, script := nextImage, userdata.Text("#!/bin/sh\necho hunter2")
		o, err := c.Reinstall(t.Context(), anna, id, control.Renewal{Image: &image, UserData: &script}, "")
		c.must("Reinstall", err)
		want(t, "deadline", o.Deadline.Sub(o.Begun), 30*time.Minute)
		order := a.orders()[0]
		want(t, "order", []any{order.Disk, order.Image, order.ImagePin, order.UserData, order.SSHKeys}, []any{int64(2), nextImage, "", script, before.Spec.SSHKeys})

		stale := c.on(id, 0, firstKey)
		stale.Generation = 1
		c.must("a report of before", a.sees(stale))
		v := c.stored(id)
		want(t, "what is known after it", []any{v.Spec.ImagePin, len(v.HostKeys), v.UserData, c.outcome(anna, o.ID)}, []any{"", 0, script, "running"})
		older := c.on(id, 0, firstKey)
		c.must("a report of an agent that knows of no disks", a.sees(vm.Sighting{ID: id, Generation: older.Generation, Phase: vm.Ready, HostKeys: older.HostKeys, Image: older.Image}))
		v = c.stored(id)
		want(t, "what is known after that", []any{v.Spec.ImagePin, len(v.HostKeys), c.outcome(anna, o.ID)}, []any{"", 0, "running"})
		want(t, "kept at first", c.kept(anna, id), "0 of https://example.com/debian.qcow2")
		wantFault(t, "purge of what it may still run on", c.PurgeDisk(t.Context(), anna, id, 0), fault.Conflict)

		c.clock.advance(time.Minute)
		c.must("Observe", a.sees(c.on(id, 2, secondKey, 0)))
		v = c.stored(id)
		want(t, "then", []any{c.outcome(anna, o.ID), v.Spec.ImagePin, v.HostKeys, v.UserData, a.orders()[0].UserData, v.State},
			[]any{"succeeded", sumOf("2"), []hostkey.Key{secondKey}, userdata.Text(""), userdata.Text(""), vm.Active})
		want(t, "kept", c.kept(anna, id), "0 of https://example.com/debian.qcow2, until 2026-03-02T12:01:00Z")
		want(t, "announced", c.tells(anna, id, "disk 0 is kept until 2026-03-02T12:01:00Z, and purged then; until then the VM can have it back"), true)
		want(t, "held", c.held(id), v.Spec.StorageGiB)

		_, err = c.Return(t.Context(), anna, id, 7, "")
		wantFault(t, "return of an unknown disk", err, fault.NotFound)
		o, err = c.Return(t.Context(), anna, id, 0, "")
		c.must("Return", err)
		order = a.orders()[0]
		want(t, "order to return", []any{order.Disk, order.Image, order.ImagePin}, []any{int64(0), before.Spec.Image, sumOf("0")})
		want(t, "keys", c.stored(id).HostKeys, []hostkey.Key{firstKey})
		c.must("Observe", a.sees(c.on(id, 0, secondKey, 2)))
		want(t, "returned", c.outcome(anna, o.ID), "succeeded")
		want(t, "kept then", c.kept(anna, id), "2 of "+nextImage+", until 2026-03-02T12:01:00Z")
		want(t, "held then", c.held(id), v.Spec.StorageGiB)
		want(t, "keys, whatever it prints", c.stored(id).HostKeys, []hostkey.Key{firstKey})
	})
}

// A disk that is kept is purged when its time is over, or before that by its customer's
// wish, by an order that names it; what it holds is free once it is gone.
func TestKeptDisksArePurged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(4))
		anna, bert := c.account("Anna", 40*price), c.account("Bert", price)
		id := c.deploy(anna)
		c.must("Observe", a.sees(c.on(id, 0, firstKey)))
		_, err := c.Reinstall(t.Context(), anna, id, control.Renewal{}, "")
		c.must("Reinstall", err)
		c.must("Observe", a.sees(c.on(id, 2, secondKey, 0)))
		c.clock.advance(keepDisks - time.Microsecond)
		c.must("too early", second(c.PurgeDisks(t.Context())))
		want(t, "to be purged too early", len(a.orders()[0].Purge), 0)
		next := c.nextDue()
		c.clock.advance(time.Microsecond)
		want(t, "next due", next, c.clock.Now())
		n, err := c.PurgeDisks(t.Context())
		want(t, "purged", []any{n, err, a.orders()[0].Purge, a.orders()[0].Disk}, []any{1, nil, []int64{0}, int64(2)})
		n, err = c.PurgeDisks(t.Context())
		want(t, "again", []any{n, err}, []any{0, nil})
		_, err = c.Return(t.Context(), anna, id, 0, "")
		wantFault(t, "return of what is being purged", err, fault.Conflict)
		c.must("not yet gone", a.sees(c.on(id, 2, secondKey, 0)))
		want(t, "held still", c.held(id), c.stored(id).Spec.StorageGiB)
		c.must("gone", a.sees(c.on(id, 2, secondKey)))
		want(t, "afterwards", []any{c.kept(anna, id), c.held(id), len(a.orders()[0].Purge)}, []any{"", int64(0), 0})

		_, err = c.Reinstall(t.Context(), anna, id, control.Renewal{}, "")
		c.must("Reinstall", err)
		g := c.stored(id).Disk
		c.must("Observe", a.sees(c.on(id, g, secondKey, 2)))
		wantFault(t, "a stranger's purge", c.PurgeDisk(t.Context(), bert, id, 2), fault.NotFound)
		wantFault(t, "purge of what it runs on", c.PurgeDisk(t.Context(), anna, id, g), fault.NotFound)
		c.must("PurgeDisk", c.PurgeDisk(t.Context(), anna, id, 2))
		c.must("PurgeDisk again", c.PurgeDisk(t.Context(), anna, id, 2))
		want(t, "order", a.orders()[0].Purge, []int64{2})
		c.must("gone", a.sees(c.on(id, g, secondKey)))
		want(t, "in the end", []any{c.kept(anna, id), c.held(id)}, []any{"", int64(0)})
	})
}

// held returns what the disks of a VM hold that are kept.
func (c *cloud) held(vmID string) (gib int64) {
	c.t.Helper()
	c.must("Disks", c.db.Read(c.t.Context(), func(tx *store.Tx) error {
		kept, err := tx.Disks(c.t.Context(), vmID)
		for _, d := range kept {
			gib += d.Held
		}
		return err
	}))
	want(c.t, "held by the VM", c.stored(vmID).Held, gib)
	return gib
}

// nextDue returns when the next thing falls due.
func (c *cloud) nextDue() (at time.Time) {
	c.t.Helper()
	c.must("NextDue", c.db.Read(c.t.Context(), func(tx *store.Tx) (err error) {
		at, err = tx.NextDue(c.t.Context())
		return err
	}))
	return at
}

// A disk that can't be had changes nothing: the operation says why, and what was
// asked for is taken back.
func TestReinstallThatCanNotBe(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(4))
		anna := c.account("Anna", 40*price)
		id := c.deploy(anna)
		c.must("Observe", a.sees(c.on(id, 0, firstKey)))
		before := c.stored(id)
		image, script := nextImage, userdata.Text("#!/bin/sh\necho hunter2")
		o, err := c.Reinstall(t.Context(), anna, id, control.Renewal{Image: &image, UserData: &script}, "")
		c.must("Reinstall", err)
		failing := c.on(id, 0, firstKey)
		n := int64(2)
		failing.Generation, failing.Reason, failing.Unmade = 1, "there is no image", &n
		c.must("Observe", a.sees(failing))
		want(t, "operation", c.outcome(anna, o.ID), "failed: there is no image; the VM goes on as it was")
		v := c.stored(id)
		want(t, "order", []any{a.orders()[0].Disk, a.orders()[0].Spec, a.orders()[0].UserData, a.orders()[0].Generation}, []any{int64(0), before.Spec, userdata.Text(""), int64(3)})
		want(t, "VM", []any{v.HostKeys, c.held(id), v.State, c.kept(anna, id), v.Operation}, []any{before.HostKeys, int64(0), vm.Active, "", ""})
		c.must("said once more", a.sees(failing))
		want(t, "generation", c.stored(id).Generation, int64(3))

		o, err = c.Rescue(t.Context(), anna, id, control.RescueWish{Key: sshKey}, "")
		c.must("Rescue", err)
		failing.Generation, failing.Reason = 3, "no room for it"
		*failing.Unmade = 4
		c.must("Observe", a.sees(failing))
		want(t, "rescue", c.outcome(anna, o.ID), "failed: no room for it; the VM goes on as it was")
		want(t, "rescue is over", []any{c.stored(id).Rescue == nil, a.orders()[0].Purge}, []any{true, []int64{4}})
		c.must("Observe", a.sees(c.on(id, 0, firstKey)))
		want(t, "nothing left to do", len(a.orders()[0].Purge), 0)
	})
}

// What was not done in time stays asked for, and is not asked for twice: whenever its
// server does it, no disk is without a name.
func TestReinstallThatIsLate(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(4))
		anna := c.account("Anna", 40*price)
		id := c.deploy(anna)
		c.must("Observe", a.sees(c.on(id, 0, firstKey)))
		o, err := c.Reinstall(t.Context(), anna, id, control.Renewal{}, "one")
		c.must("Reinstall", err)
		again, err := c.Reinstall(t.Context(), anna, id, control.Renewal{}, "one")
		want(t, "the same request", []any{again, err}, []any{o, nil})
		c.clock.advance(30 * time.Minute)
		c.must("EndOperations", second(c.EndOperations(t.Context())))
		want(t, "operation", c.outcome(anna, o.ID), "failed: its server did not do it within 30m0s; it does so as soon as it can")
		_, err = c.Reinstall(t.Context(), anna, id, control.Renewal{}, "two")
		wantFault(t, "another one", err, fault.Conflict)
		wantFault(t, "purge of what it may still run on", c.PurgeDisk(t.Context(), anna, id, 0), fault.Conflict)
		c.clock.advance(2 * keepDisks)
		want(t, "overdue", []any{second(c.PurgeDisks(t.Context())), len(a.orders()[0].Purge)}, []any{error(nil), 0})
		c.must("done at last", a.sees(c.on(id, 2, secondKey, 0)))
		want(t, "kept", c.kept(anna, id), "0 of https://example.com/debian.qcow2, until "+c.clock.Now().Add(keepDisks).UTC().Format(time.RFC3339))
	})
}

// In rescue a VM runs another image by a key of its own, says so, and is refused what
// would change its disk; then it is as before.
func TestRescue(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(4))
		anna := c.account("Anna", 40*price)
		id := c.deploy(anna)
		c.must("Observe", a.sees(c.on(id, 0, firstKey)))
		before := c.stored(id)
		_, err := c.Rescue(t.Context(), anna, id, control.RescueWish{Key: "ssh-ed25519 nonsense"}, "")
		wantFault(t, "without a key", err, fault.Invalid)
		_, err = c.Unrescue(t.Context(), anna, id, "")
		wantFault(t, "unrescue of one that isn't", err, fault.Conflict)
		o, err := c.Rescue(t.Context(), anna, id, control.RescueWish{Key: sshKey}, "")
		c.must("Rescue", err)
		order := a.orders()[0]
		want(t, "order", []any{order.Disk, order.Boots(), *order.Rescue, order.Spec}, []any{int64(0), int64(2), vm.RescueSystem{Disk: 2, Image: rescueImage, Key: sshKey}, before.Spec})
		rescued := c.on(id, 2, secondKey, 0)
		rescued.Image = sumOf("9")
		c.must("Observe", a.sees(rescued))
		v := c.stored(id)
		want(t, "in rescue", []any{c.outcome(anna, o.ID), v.State, v.HostKeys, v.Rescue.HostKeys, v.Rescue.Since, v.Spec, v.Price, c.held(id)},
			[]any{"succeeded", vm.Active, before.HostKeys, []hostkey.Key{secondKey}, start, before.Spec, before.Price, int64(0)})
		want(t, "kept", c.kept(anna, id), "")
		want(t, "allowed", v.Allowed(), []vm.Action{vm.Rename, vm.SetPorts, vm.Label, vm.Reboot, vm.Reset, vm.Shutdown, vm.Unrescue, vm.TakeSnapshot, vm.Protect, vm.Delete})
		_, err = c.Reinstall(t.Context(), anna, id, control.Renewal{}, "")
		wantFault(t, "reinstall", err, fault.Conflict)
		o, err = c.Unrescue(t.Context(), anna, id, "")
		c.must("Unrescue", err)
		order = a.orders()[0]
		want(t, "order back", []any{order.Boots(), order.Rescue == nil, order.Purge}, []any{int64(0), true, []int64{2}})
		c.must("Observe", a.sees(c.on(id, 0, secondKey, 2)))
		want(t, "back", []any{c.outcome(anna, o.ID), c.stored(id).HostKeys, c.kept(anna, id)}, []any{"succeeded", before.HostKeys, ""})
		c.must("Observe", a.sees(c.on(id, 0, secondKey)))
		want(t, "nothing left to do", len(a.orders()[0].Purge), 0)
	})
}

// Disks that are there and that nobody knows, as after the store was restored, are kept
// as all others; what is not there any more is told.
func TestDisksThatTurnUp(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(4))
		anna := c.account("Anna", 40*price)
		id := c.deploy(anna)
		c.must("Observe", a.sees(c.on(id, 0, firstKey, 17)))
		c.must("seen again", a.sees(c.on(id, 0, firstKey, 17)))
		want(t, "kept", c.kept(anna, id), "17 of , until 2026-03-02T12:00:00Z")
		o, err := c.Return(t.Context(), anna, id, 17, "")
		c.must("Return", err)
		c.must("Observe", a.sees(c.on(id, 17, secondKey, 0)))
		want(t, "returned", c.outcome(anna, o.ID), "succeeded")
		_, err = c.Reinstall(t.Context(), anna, id, control.Renewal{}, "")
		wantFault(t, "reinstall of nothing", err, fault.Invalid)
		c.must("it vanished", a.sees(c.on(id, 17, secondKey)))
		want(t, "left", []any{c.kept(anna, id), c.tells(anna, id, "disk 0 is not there any more")}, []any{"", true})
		c.remove(anna, id)
		c.clear([]string{id})
		want(t, "used", c.used().StorageGiB, int64(0))
	})
}

// No more than three are kept, and all go with the VM.
func TestMostKeptDisks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(9))
		anna := c.account("Anna", 90*price)
		id := c.deploy(anna)
		c.must("Observe", a.sees(c.on(id, 0, firstKey)))
		var others []int64
		for range vm.MaxKept {
			others = append(others, c.stored(id).Disk)
			_, err := c.Reinstall(t.Context(), anna, id, control.Renewal{}, "")
			c.must("Reinstall", err)
			c.must("Observe", a.sees(c.on(id, c.stored(id).Disk, firstKey, slices.Clone(others)...)))
		}
		_, err := c.Reinstall(t.Context(), anna, id, control.Renewal{}, "")
		wantFault(t, "a fourth one", err, fault.Conflict)
		_, err = c.Return(t.Context(), anna, id, 0, "")
		c.must("Return, which keeps as many", err)
		c.remove(anna, id)
		c.clock.advance(2 * keepDisks)
		want(t, "purged of what is removed", second(c.PurgeDisks(t.Context())), error(nil))
		c.clear([]string{id})
		_, kept, err := c.Disks(t.Context(), anna, id)
		wantFault(t, "disks of a VM that is gone", err, fault.NotFound)
		want(t, "kept", len(kept), 0)
	})
}
