package servertest_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/servertest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// rescueKey is a key that logs in nowhere else.
const rescueKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx1bmdmaXNobHVuZ2Zpc2hsdW5nZmlzaGx1bmdmaXNo once"

// turnable are the VMs that can be started on another disk.
func turnable(g *guest) bool { return on(g) && !g.rescued }

// needs are what some actions need besides.
var needs = map[string]func(g *guest) bool{
	"reinstall": func(g *guest) bool { return len(g.kept) < vm.MaxKept },
	"return":    func(g *guest) bool { return len(g.kept) > 0 },
}

// turning are the actions that start a VM on another disk.
var turning = map[string]action{
	"reinstall": {
		allowed: turnable,
		do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
			return w.anna.ReinstallVM(ctx, g.id, client.Reinstall{}, request)
		},
		then: func(w *world, g *guest) { w.has(g, w.current(g)) },
	},
	"return": {
		allowed: turnable,
		do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
			return w.anna.ReturnDisk(ctx, g.id, g.anyKept(), request)
		},
		then: func(w *world, g *guest) { w.has(g, g.anyKept()) }, // which is still the one that was asked for
	},
	"rescue": {
		allowed: turnable,
		do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
			return w.anna.RescueVM(ctx, g.id, client.Rescue{SSHKey: rescueKey, Image: w.cloud.Demo()}, request)
		},
		then: func(_ *world, g *guest) { g.rescued = true },
	},
	"unrescue": {
		allowed: func(g *guest) bool { return on(g) && g.rescued },
		do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
			return w.anna.UnrescueVM(ctx, g.id, request)
		},
		then: func(_ *world, g *guest) { g.rescued = false },
	},
}

// anyKept returns the number of a disk that is kept, the same one until there are others.
func (g *guest) anyKept() int64 {
	all := slices.Sorted(maps.Keys(g.kept))
	if len(all) == 0 {
		return -1
	}
	return all[0]
}

// has notes that a VM has another disk than before, which is kept from now on.
func (w *world) has(g *guest, disk int64) {
	delete(g.kept, disk)
	g.kept[g.disk] = w.now.Add(servertest.KeepDisks)
	g.disk = disk
	if _, known := g.disks[disk]; !known {
		g.disks[disk] = 0
	}
}

// current returns the number of the disk that the cloud says a VM has.
func (w *world) current(g *guest) int64 {
	w.Helper()
	list, err := w.anna.Disks(w.Context(), g.id)
	i := slices.IndexFunc(list, func(d client.Disk) bool { return d.Current })
	if err != nil || i < 0 {
		w.Fatalf("disks of %+v: %+v, %v", *g, list, err)
	}
	return list[i].Number
}

// expires notes what need not be kept any more by now.
func (g *guest) expires(now time.Time) {
	for n, until := range g.kept {
		if !until.After(now) {
			g.drops(n)
		}
	}
}

func (g *guest) drops(n int64) {
	delete(g.kept, n)
	delete(g.disks, n)
}

// dropsDisk purges a disk of a VM that is kept, by its customer's wish.
func (w *world) dropsDisk(g *guest) {
	w.Helper()
	n := g.anyKept()
	if g.stage != here || n < 0 {
		return
	}
	if err := w.anna.PurgeDisk(w.Context(), g.id, n); err != nil {
		w.Fatalf("purge disk %d of %+v: %v", n, *g, err)
	}
	g.drops(n)
	w.disturb()
}

// fails has a VM be reinstalled from an image that isn't there: nothing changes.
func (w *world) fails(g *guest) {
	w.Helper()
	if !turnable(g) || len(g.kept) >= vm.MaxKept {
		return
	}
	image := strings.Replace(w.cloud.Demo(), ".qcow2", "-nothing.qcow2", 1)
	o, err := w.anna.ReinstallVM(w.Context(), g.id, client.Reinstall{Image: &image}, w.request())
	if err != nil {
		w.Fatalf("reinstall of %+v: %v", *g, err)
	}
	w.disturb()
	if o, err = w.anna.WaitOperation(w.Context(), o.ID); err != nil || o.Error == nil || !strings.Contains(*o.Error, "goes on as it was") {
		w.Fatalf("reinstall of %+v from nothing: %+v, %v", *g, o, err)
	}
}

// odd says which disk of a VM ought not to be there any more, -1 for none. A rescue has one
// of its own.
func (w *world) odd(g *guest) int64 {
	spare := 0
	if g.rescued {
		spare = 1
	}
	for n := range w.files(g.id) {
		if _, known := g.disks[n]; known || g.stage == gone {
			continue
		}
		if spare--; spare < 0 {
			return n
		}
	}
	return -1
}
