package agent_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// What an order says of its image is what the image is asked for, and what came of
// it is reported.
func TestImageOfAnOrder(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		o := order("0xA", 1, ssh)
		o.ImageChecksum, o.ImagePin, o.Tenant = "asked for", "pinned", "anna"
		r.order(o)
		r.reaches("0xA", 1, vm.Ready)
		got := r.disks.asked()
		if got.Checksum != "asked for" || got.Pinned || got.Tenant != "anna" || got.URL != o.Image || got.DiskBytes != o.StorageGiB<<30 {
			r.Errorf("asked for %+v", got)
		}
		p := order("0xB", 1, ssh)
		p.ImagePin, p.Address = "pinned", netip.MustParseAddr("127.77.0.2")
		r.order(p)
		r.reaches("0xB", 1, vm.Ready)
		if got := r.disks.asked(); got.Checksum != "pinned" || !got.Pinned || got.Tenant != "vm:0xB" {
			r.Errorf("asked for %+v, want what is pinned, and nothing that isn't public", got)
		}
		for _, id := range []string{"0xA", "0xB"} {
			if seen := r.sighting(id); seen.Image != checksum {
				r.Errorf("%s is reported with the image %q, want %q", id, seen.Image, checksum)
			}
		}
	})
}

// Images are pruned once an hour, and soon where there are too many.
func TestTooManyImagesArePrunedSoon(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		before, _ := r.disks.pruned()
		time.Sleep(30 * time.Minute)
		if now, _ := r.disks.pruned(); now != before {
			t.Errorf("pruned %d times within half an hour", now-before)
		}
		r.disks.mu.Lock()
		r.disks.full = true
		r.disks.mu.Unlock()
		time.Sleep(10 * time.Minute)
		if now, _ := r.disks.pruned(); now-before < 8 || now-before > 10 {
			t.Errorf("pruned %d times within ten minutes in which there are too many", now-before)
		}
	})
}
