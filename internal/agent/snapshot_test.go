package agent_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	hypervisorfake "github.com/cpucloud/cpucloud/internal/hypervisor/fake"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// saving returns a rig's ready VM 0xA with an order to make a snapshot, that is not
// given yet.
func saving(r *rig) vm.Order {
	r.Helper()
	r.start()
	o := order("0xA", 1, ssh)
	r.order(o)
	r.reaches("0xA", 1, vm.Ready)
	o.Generation = 2
	o.Snapshots = []vm.SnapshotAsk{{ID: "snap_1", Goal: vm.MakeSnapshot}}
	return o
}

// comes waits until the snapshot of an order has come to be in a state.
func (r *rig) comes(o vm.Order, want vm.SnapshotPhase) vm.SnapshotSeen {
	r.Helper()
	r.until(10*time.Minute, "the snapshot is "+string(want), func() bool { return r.snapshot(o).State == want })
	return r.snapshot(o)
}

// kept returns the names of the files of a VM's snapshots.
func (r *rig) kept(id string) []string {
	entries, err := os.ReadDir(r.dir + "/agent/vms/" + id + "/snapshots")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.Fatal(err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// A snapshot is made once, is told with its checksum, outlives restarts of the agent
// and orders that don't name it, and goes by an order to purge it alone.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.host.Freezes = true
		o := saving(r)
		r.order(o)
		seen := r.comes(o, vm.SnapshotThere)
		sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(r.disk("0xA"))))
		if seen.Checksum != sum || seen.Bytes != int64(len(r.disk("0xA"))) || seen.VirtualBytes != 1<<30 || seen.Consistency != "filesystem" || seen.At.IsZero() {
			t.Errorf("told %+v, want the disk's length and checksum %s", seen, sum)
		}
		if r.starts("0xA") != 1 || r.tells("0xA", "file systems were brought into order") != 1 || r.tells("0xA", "ports now open") != 0 {
			t.Errorf("%d starts, story %+v", r.starts("0xA"), r.sighting("0xA").Steps)
		}
		r.host.Fail(hypervisorfake.Backup, errors.New("it must not be made again"))
		r.halt()
		r.start()
		o.Generation++
		r.order(o)
		r.reaches("0xA", 3, vm.Ready)
		if again := r.comes(o, vm.SnapshotThere); again != seen {
			t.Errorf("after a restart it is %+v, was %+v", again, seen)
		}

		unnamed := o
		unnamed.Generation, unnamed.Snapshots = 4, nil
		r.order(unnamed)
		r.reaches("0xA", 4, vm.Ready)
		time.Sleep(time.Hour)
		if again := r.comes(o, vm.SnapshotThere); again != seen || !slices.Equal(r.kept("0xA"), []string{"snap_1.json", "snap_1.qcow2"}) {
			t.Errorf("one that isn't named is %+v, was %+v", again, seen)
		}

		o.Generation, o.Snapshots[0].Goal = 5, vm.PurgeSnapshot
		r.order(o)
		r.comes(o, vm.SnapshotGone)
		if left := r.kept("0xA"); len(left) != 0 || r.starts("0xA") != 1 {
			t.Errorf("%d starts, left are %v", r.starts("0xA"), left)
		}
	})
}

// One that can't be made is tried again for a while, and told as failed then, with nothing left.
func TestSnapshotThatFails(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		tries := 0
		r.host.OnBackup = func(_ context.Context, _ string, b hypervisor.Backup) error {
			if _, err := b.Target.WriteString("half"); err != nil {
				return err
			}
			tries++
			return fault.New(fault.Unavailable, "the server has no room")
		}
		o := saving(r)
		r.order(o)
		r.until(time.Minute, "it says what it waits for", func() bool {
			return r.snapshot(o).State == vm.SnapshotWaits && strings.Contains(r.snapshot(o).Reason, "no room; it is tried again")
		})
		seen := r.comes(o, vm.SnapshotFailed)
		time.Sleep(time.Hour)
		if tries != 6 || seen.Reason != "the server has no room" || len(r.kept("0xA")) != 0 || r.starts("0xA") != 1 {
			t.Errorf("%d tries, %+v, left are %v", tries, seen, r.kept("0xA"))
		}
	})
}

// What the process of a VM has written and is no disk on its own is no snapshot.
func TestSnapshotThatIsNone(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		o := saving(r)
		if err := os.WriteFile(r.dir+"/agent/vms/0xA/disk.qcow2", nil, 0o600); err != nil { // the rig takes an empty one for none
			t.Fatal(err)
		}
		r.order(o)
		if seen := r.comes(o, vm.SnapshotFailed); seen.Reason != "no disk" || len(r.kept("0xA")) != 0 {
			t.Errorf("it is %+v, left are %v", seen, r.kept("0xA"))
		}
	})
}

// The VM's other business goes on while a snapshot is made; one that is not wanted any
// more is stopped, and so is that of a VM that is to go.
func TestSnapshotThatIsCalledOff(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		begun := 0
		r.host.OnBackup = func(ctx context.Context, _ string, b hypervisor.Backup) error {
			begun++
			b.Progress(1, 2)
			<-ctx.Done()
			return ctx.Err()
		}
		o := saving(r)
		r.order(o)
		r.until(time.Minute, "half is done", func() bool { return r.snapshot(o).Percent == 50 })
		o.Generation, o.Ports = 3, []vm.Port{ssh, web}
		r.order(o)
		r.reaches("0xA", 3, vm.Ready)
		if begun != 1 || r.snapshot(o).State != vm.SnapshotMade || len(r.links()[0].Ports) != 2 {
			t.Errorf("begun %d times, %+v, link %+v", begun, r.snapshot(o), r.links())
		}
		o.Generation, o.Snapshots = 4, []vm.SnapshotAsk{{ID: "snap_1", Goal: vm.PurgeSnapshot}}
		r.order(o)
		r.comes(o, vm.SnapshotGone)
		if left := r.kept("0xA"); len(left) != 0 {
			t.Errorf("left are %v", left)
		}

		o.Generation, o.Snapshots = 5, []vm.SnapshotAsk{{ID: "snap_2", Goal: vm.MakeSnapshot}}
		r.order(o)
		r.comes(o, vm.SnapshotMade)
		o.Generation, o.Goal = 6, vm.Remove
		r.order(o)
		r.reaches("0xA", 6, vm.Absent)
		if left := r.folders(); len(left) != 0 || begun != 2 {
			t.Errorf("begun %d times, left are %v", begun, left)
		}
	})
}

// A VM that is made of a snapshot has its own file of it: it needs the snapshot no
// more, nor the VM that it is of.
func TestVMOfASnapshot(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.disks.clones = true // which is for images alone
		o := saving(r)
		r.order(o)
		r.comes(o, vm.SnapshotThere)
		words := r.disk("0xA")
		copied := order("0xB", 1, ssh)
		copied.Address, copied.From = netip.MustParseAddr("127.77.0.2"), "snap_1"
		fetches := r.disks.fetches
		r.order(copied)
		r.reaches("0xB", 1, vm.Ready)
		o.Generation, o.Goal = 3, vm.Remove
		r.order(o)
		r.reaches("0xA", 3, vm.Absent)
		m, _ := r.host.Machine("0xB")
		base := m.Disks[0].Backing
		if base == nil || base.Format != hypervisor.QCOW2 || base.Backing != nil || m.Disks[0].Format != hypervisor.QCOW2 || r.disks.fetches != fetches {
			t.Fatalf("its disk is %+v on %+v", m.Disks[0], base)
		}
		if text, err := os.ReadFile(base.Path); err != nil || string(text) != words || !strings.Contains(base.Path, "/0xB/") {
			t.Errorf("it lies on %s, which says %q, %v; want %q", base.Path, text, err, words)
		}
		// It starts again from what it has.
		r.host.Kill("0xB", "killed")
		r.until(time.Minute, "it runs again", func() bool { return r.starts("0xB") > 2 })
	})
}

// A snapshot whose file has changed is nothing to make a VM of, and one that is
// not there is none either: both are told, and tried no further.
func TestVMOfADamagedSnapshot(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		o := saving(r)
		r.order(o)
		r.comes(o, vm.SnapshotThere)
		if err := os.WriteFile(r.dir+"/agent/vms/0xA/snapshots/snap_1.qcow2", []byte("changed"), 0o600); err != nil {
			t.Fatal(err)
		}
		for id, from := range map[string]string{"0xB": "snap_1", "0xC": "snap_2", "0xD": "../0xA"} {
			copied := order(id, 1, ssh)
			copied.From = from
			r.order(copied)
			r.until(10*time.Minute, "it is told", func() bool { return r.sighting(id).Phase == vm.Broken })
			want := "damaged"
			if id != "0xB" {
				want = "not on this server"
			}
			if s := r.sighting(id); !strings.Contains(s.Reason, want) || s.Elsewhere {
				t.Errorf("made of %s it is %+v", from, s)
			}
			if _, err := os.Stat(r.dir + "/agent/vms/" + id + "/snapshot.qcow2"); err == nil {
				t.Errorf("%s keeps what it can't use", id)
			}
		}
	})
}

// A VM that is restored goes on as the machine that it was, also from a snapshot of a disk
// that was restored; one that is made of a snapshot is another one.
func TestRestoredIsTheSameMachine(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		instance := func(id string) string {
			text, err := os.ReadFile(r.dir + "/agent/vms/" + id + "/seed.iso")
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(text), "instance-id: ")
			line, _, _ := strings.Cut(rest, "\n")
			return line
		}
		o := saving(r)
		r.order(o)
		r.comes(o, vm.SnapshotThere)
		for n := int64(3); n < 7; n += 2 {
			o.Generation, o.Disk, o.From = n, n, o.Snapshots[0].ID
			r.order(o)
			r.reaches("0xA", n, vm.Ready)
			if got := instance("0xA"); r.sighting("0xA").Disk != n || got != `"0xA"` {
				t.Errorf("restored to disk %d it runs on %d and is %s", n, r.sighting("0xA").Disk, got)
			}
			o.Generation, o.Snapshots = n+1, []vm.SnapshotAsk{{ID: fmt.Sprint("snap_", n), Disk: n, Goal: vm.MakeSnapshot}}
			r.order(o)
			r.comes(o, vm.SnapshotThere)
		}
		copied := order("0xB", 1, ssh)
		copied.Address, copied.From = netip.MustParseAddr("127.77.0.2"), o.Snapshots[0].ID
		r.order(copied)
		r.reaches("0xB", 1, vm.Ready)
		if got := instance("0xB"); got != `"0xB"` {
			t.Errorf("made of a snapshot it is %s", got)
		}
		o.Generation, o.Disk, o.From = 20, 20, "" // reinstalled
		r.order(o)
		r.reaches("0xA", 20, vm.Ready)
		if got := instance("0xA"); got != `"0xA-20"` {
			t.Errorf("reinstalled it is %s", got)
		}
	})
}
