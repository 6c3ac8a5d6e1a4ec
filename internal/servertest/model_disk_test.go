package servertest_test

import (
	"strings"

	"github.com/cpucloud/cpucloud/client"
)

// dropsDisk purges a disk of a VM that is kept, by its customer's wish.
func (w *world) dropsDisk(g *guest) {
	w.Helper()
	if g.stage != here || len(g.parted) == 0 {
		return
	}
	n := g.other()
	if err := w.anna.PurgeDisk(w.Context(), g.id, n); err != nil {
		w.Fatalf("purge disk %d of %+v: %v", n, *g, err)
	}
	delete(g.parted, n)
	delete(g.disks, n)
	w.disturb()
}

// fails has a VM be reinstalled from an image that isn't there: nothing changes.
func (w *world) fails(g *guest) {
	w.Helper()
	if !free(g) || !fewer(g) {
		return
	}
	image := strings.Replace(w.image, ".qcow2", "-nothing.qcow2", 1)
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
	if g.rescue {
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
