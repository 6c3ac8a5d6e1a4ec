package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// roomy is a server with room for VMs and what they hold.
func roomy(c *cloud, vms, gib int64) *agent {
	total := room(vms)
	total.StorageGiB += gib
	return c.join(total)
}

// snap begins a snapshot and returns its id and the operation.
func (c *cloud) snap(who account.Actor, id string) (string, vm.Operation) {
	c.t.Helper()
	o, err := c.operate(who, id, vm.TakeSnapshot, c.TakeSnapshot(""))
	c.must("TakeSnapshot", err)
	return o.Result[vm.SnapshotResult], o
}

// snapped reports one snapshot of a VM that is ready.
func (a *agent) snapped(id string, seen ...vm.SnapshotSeen) {
	a.c.t.Helper()
	a.c.must("Observe", a.sees(vm.Sighting{ID: id, Generation: a.c.stored(id).Generation, Phase: vm.Ready, Snapshots: seen}))
}

// whole is a snapshot of so many bytes as an agent tells it.
func (c *cloud) whole(id string, bytes int64) vm.SnapshotSeen {
	return vm.SnapshotSeen{
		ID: id, State: vm.SnapshotThere, At: c.clock.Now(), Bytes: bytes, VirtualBytes: 25 << 30, Checksum: "sha256:" + strings.Repeat("0d", 32), Consistency: "filesystem",
	}
}

// made takes a snapshot of 2 GiB and less a byte.
func (a *agent) made(who account.Actor, id string) string {
	a.c.t.Helper()
	one, o := a.c.snap(who, id)
	a.snapped(id, a.c.whole(one, 2<<30-1))
	want(a.c.t, "snapshot", a.c.came(who, o), vm.Succeeded)
	return one
}

func (c *cloud) snapshots(who account.Actor, id string) []vm.Snapshot {
	c.t.Helper()
	list, err := c.Snapshots(c.t.Context(), who, id)
	c.must("Snapshots", err)
	return list
}

// A snapshot is ordered once, holds as much as its disk while it is made and what it takes
// after, is never made again, and holds its place until its agent has purged it.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := roomy(c, 1, 30), c.account("Anna", 10*price)
		id := c.deploy(anna)
		_, err := c.operate(anna, id, vm.TakeSnapshot, c.TakeSnapshot(""))
		wantFault(t, "of a VM that has no disk yet", err, fault.Conflict)
		a.reports(vm.Ready, id)

		_, err = c.operate(anna, id, vm.TakeSnapshot, c.TakeSnapshot("a b"))
		wantFault(t, "called a b", err, fault.Invalid)
		one, o := c.snap(anna, id)
		want(t, "asked for", a.orders()[0].Snapshots, []vm.SnapshotAsk{{ID: one, Goal: vm.MakeSnapshot}})
		want(t, "held while it is made", []any{c.used().StorageGiB, c.snapshots(anna, id)[0].State, c.snapshots(anna, id)[0].Name}, []any{int64(50), vm.Making, "at-20260301-120000"})
		c.sound()
		_, err = c.operate(anna, id, vm.Reboot, control.Restart(false))
		wantFault(t, "another operation meanwhile", err, fault.Conflict)
		wantFault(t, "deleted while it is made", c.DeleteSnapshot(t.Context(), anna, one), fault.Conflict)

		a.snapped(id, vm.SnapshotSeen{ID: one, State: vm.SnapshotMade, Percent: 40})
		want(t, "on its way", []any{c.came(anna, o), c.snapshots(anna, id)[0].Percent}, []any{vm.Going, int64(40)})
		a.snapped(id, c.whole(one, 2<<30-1))
		s := c.snapshots(anna, id)[0]
		want(t, "made", []any{c.came(anna, o), s.State, s.HeldGiB, s.Consistency, s.Bytes}, []any{vm.Succeeded, vm.Available, int64(2), "filesystem", int64(2<<30 - 1)})
		want(t, "held then", c.used().StorageGiB, int64(27))
		want(t, "never again", a.orders()[0].Snapshots, []vm.SnapshotAsk{{ID: one, Goal: vm.KeepSnapshot}})
		c.sound()

		bert := c.account("Bert", price)
		wantFault(t, "deleted by another account", c.DeleteSnapshot(t.Context(), bert, one), fault.NotFound)
		_, err = c.Snapshots(t.Context(), bert, id)
		wantFault(t, "listed by another account", err, fault.NotFound)
		theirs, err := c.AllSnapshots(t.Context(), bert)
		c.must("AllSnapshots", err)
		want(t, "another account's", len(theirs), 0)

		for range 2 {
			c.must("DeleteSnapshot", c.DeleteSnapshot(t.Context(), anna, one))
		}
		want(t, "to be purged", a.orders()[0].Snapshots, []vm.SnapshotAsk{{ID: one, Goal: vm.PurgeSnapshot}})
		a.snapped(id, c.whole(one, 2<<30-1)) // it does not know yet
		want(t, "until it is purged", []any{c.snapshots(anna, id)[0].State, c.used().StorageGiB}, []any{vm.Discarded, int64(27)})
		a.snapped(id, vm.SnapshotSeen{ID: one, State: vm.SnapshotGone})
		want(t, "purged", []any{len(c.snapshots(anna, id)), c.used().StorageGiB, len(a.orders()[0].Snapshots)}, []any{0, int64(25), 0})
		c.sound()
	})
}

// One that can't be made, or not in time, fails with its reason, and holds nothing in the end.
func TestSnapshotThatFails(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := roomy(c, 1, 30), c.account("Anna", 10*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		for name, foil := range map[string]func(one string){
			"failed: the server has no room": func(one string) {
				a.snapped(id, vm.SnapshotSeen{ID: one, State: vm.SnapshotFailed, Reason: "the server has no room"})
			},
			"failed: its server did not do it within 6h0m0s; it does so as soon as it can": func(string) {
				c.clock.advance(6*time.Hour + 1)
				_, err := c.EndOperations(t.Context())
				c.must("EndOperations", err)
			},
			"succeeded": func(one string) { // told without sense
				a.snapped(id, vm.SnapshotSeen{ID: one, State: vm.SnapshotThere, Checksum: "none"})
			},
		} {
			one, o := c.snap(anna, id)
			foil(one)
			want(t, "in the end", c.outcome(anna, o.ID), name)
			want(t, name, []any{c.snapshots(anna, id)[0].State, a.orders()[0].Snapshots[0].Goal}, []any{vm.Spoiled, vm.PurgeSnapshot})
			a.snapped(id, vm.SnapshotSeen{ID: one, State: vm.SnapshotGone})
			want(t, name+": left", []any{len(c.snapshots(anna, id)), c.used().StorageGiB}, []any{0, int64(25)})
			c.sound()
		}
		one := a.made(anna, id)
		a.snapped(id, vm.SnapshotSeen{ID: one, State: vm.SnapshotLost})
		want(t, "lost", c.tells(anna, id, "snapshot "+c.snapshots(anna, id)[0].Name+": is not on its server any more"), true)
	})
}

// What holds more than there is, more than is paid for, or is one too many is refused.
func TestSnapshotBounds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := roomy(c, 1, 10), c.account("Anna", 10*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		_, err := c.operate(anna, id, vm.TakeSnapshot, c.TakeSnapshot(""))
		wantFault(t, "without room", err, fault.Conflict)
		want(t, "nothing is held", []any{c.used(), len(c.snapshots(anna, id))}, []any{room(1), 0})

		b, poor := roomy(c, 1, 100), c.account("Poor", 2*price)
		id = c.deploy(poor)
		b.reports(vm.Ready, id)
		_, err = c.operate(poor, id, vm.TakeSnapshot, c.TakeSnapshot(""))
		wantFault(t, "without money", err, fault.Unaffordable)
		c.pay("more", poor.AccountID, 100*price)
		for range vm.MaxSnapshots {
			b.made(poor, id)
		}
		_, err = c.operate(poor, id, vm.TakeSnapshot, c.TakeSnapshot(""))
		c.refused("one more", err, "16 snapshots")
		c.remove(poor, id)
		b.c.must("Observe", b.sees(vm.Sighting{ID: id, Generation: c.stored(id).Generation, Phase: vm.Absent}))
		all, err := c.AllSnapshots(t.Context(), poor)
		c.must("AllSnapshots", err)
		want(t, "with the VM", []any{len(all), c.used()}, []any{0, room(1)})
		c.sound()
	})
}

// A VM of a snapshot is placed beside it, and nowhere else.
func TestVMOfASnapshot(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := roomy(c, 2, 30), c.account("Anna", 20*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.joinUnder(at("Cheap", 7, -10), room(5)) // where it would be otherwise
		one := a.made(anna, id)
		d := wish(1)
		d.Snapshot = one
		_, err := c.Deploy(t.Context(), anna, d)
		wantFault(t, "of an image too", err, fault.Invalid)
		d.Image, d.Name = "", "copy"
		_, err = c.Deploy(t.Context(), c.account("Bert", 10*price), d)
		wantFault(t, "by another account", err, fault.NotFound)
		large := d
		large.Constraints.Configuration = "cpu-4-ram-8gb-storage-25gb"
		_, err = c.Deploy(t.Context(), anna, large)
		wantFault(t, "larger than its server", err, fault.Unsatisfiable)
		want(t, "which is told", strings.Contains(fault.Message(err), "has no room for what is asked for"), true)

		made, err := c.Deploy(t.Context(), anna, d)
		c.must("Deploy", err)
		v := c.stored(made[0].ID)
		want(t, "placed", []any{v.ServerID, v.From, v.Spec.Image}, []any{a.id, one, c.stored(id).Spec.Image})
		wantFault(t, "deleting it meanwhile", c.DeleteSnapshot(t.Context(), anna, one), fault.Conflict)
		c.must("Observe", a.sees(vm.Sighting{ID: made[0].ID, Phase: vm.Broken, Reason: "it can't", Elsewhere: true}))
		c.clock.advance(time.Hour)
		_, err = c.Sweep(t.Context())
		c.must("Sweep", err)
		want(t, "never elsewhere", []any{c.stored(made[0].ID).State, c.stored(made[0].ID).ServerID}, []any{vm.Failed, a.id})
		c.must("DeleteSnapshot", c.DeleteSnapshot(t.Context(), anna, one))
		_, err = c.Deploy(t.Context(), anna, d)
		wantFault(t, "of one that is deleted", err, fault.Conflict)
		c.sound()
	})
}

// Snapshots are made on schedule, the newest are kept, and none that was asked for goes.
func TestSchedule(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := roomy(c, 1, 60), c.account("Anna", 100*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		for what, plan := range map[string]vm.Schedule{
			"too often": {Every: time.Minute, Keep: 2}, "too seldom": {Every: 1000 * time.Hour, Keep: 2}, "too few": {Every: time.Hour}, "too many": {Every: time.Hour, Keep: 16},
			"in the past": {Every: time.Hour, Keep: 2, Next: c.clock.Now().Add(-time.Second)},
		} {
			_, err := c.SetSchedule(t.Context(), anna, id, plan.Every, plan.Keep, plan.Next)
			wantFault(t, what, err, fault.Invalid)
		}
		manual := a.made(anna, id)
		_, err := c.Schedule(t.Context(), anna, id)
		wantFault(t, "none", err, fault.NotFound)
		_, err = c.SetSchedule(t.Context(), anna, id, 6*time.Hour, 2, time.Time{})
		c.must("SetSchedule", err)
		run := func() int {
			c.clock.advance(6 * time.Hour)
			n, err := c.RunSchedules(t.Context())
			c.must("RunSchedules", err)
			return n
		}
		n, err := c.RunSchedules(t.Context())
		want(t, "not yet due", []any{n, err}, []any{0, nil})
		for range 4 {
			want(t, "due", run(), 1)
			list := c.snapshots(anna, id)
			newest := list[len(list)-1]
			want(t, "begun", []any{newest.State, newest.Scheduled}, []any{vm.Making, true})
			a.snapped(id, c.whole(newest.ID, 1<<30))
			var gone []vm.SnapshotSeen
			for _, s := range c.snapshots(anna, id) {
				if s.State == vm.Discarded {
					gone = append(gone, vm.SnapshotSeen{ID: s.ID, State: vm.SnapshotGone})
				}
			}
			a.snapped(id, gone...)
		}
		list := c.snapshots(anna, id)
		want(t, "kept", []any{len(list), list[0].ID, list[1].Scheduled, list[2].Scheduled}, []any{3, manual, true, true})

		// While another one goes on it is left out, and told; what was missed is not made up for.
		_, _ = c.snap(anna, id)
		want(t, "while one goes on", run(), 1)
		plan, err := c.Schedule(t.Context(), anna, id)
		c.must("Schedule", err)
		want(t, "left out", []any{strings.HasPrefix(plan.Told, "another operation goes on: snapshot"), len(c.snapshots(anna, id))}, []any{true, 4})
		for range 2 {
			c.must("DeleteSchedule", c.DeleteSchedule(t.Context(), anna, id))
		}
		want(t, "ended", run(), 0)
		c.sound()
	})
}
