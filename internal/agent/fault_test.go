package agent_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// sickDisk fails at the n-th step that changes the disk, and at as many after it
// as it is told to.
type sickDisk struct {
	mu    sync.Mutex
	steps []string
	first int // step, from 1; 0 for none
	count int
	with  error
}

func (d *sickDisk) fault(step string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.steps = append(d.steps, step)
	if n := len(d.steps); d.first > 0 && n >= d.first && n < d.first+d.count {
		return &os.PathError{Op: "write", Path: step, Err: d.with}
	}
	return nil
}

// seen returns the steps so far.
func (d *sickDisk) seen() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.steps)
}

// lead leads one VM through all parts of a life and checks each.
func (d *sickDisk) lead(r *rig) {
	o := order("0xA", 1, ssh)
	var disks map[string]string
	for _, stage := range wholeLife {
		stage.order(&o)
		r.order(o)
		r.until(30*time.Minute, fmt.Sprint(stage.goal, " with ", stage.ports), func() bool {
			s := r.sighting("0xA")
			return s.Phase == stage.phase && s.Generation == o.Generation && stage.snapped(r, o)
		})
		disks = stage.check(r, o, disks)
		o.Generation++
	}
}

// Whatever step of a VM's life the disk refuses, and for whatever reason, the VM
// gets where it belongs, on one disk, and leaves nothing behind.
func TestSickDisk(t *testing.T) {
	t.Parallel()
	var steps []string
	bubble(t, func(r *rig) {
		d := &sickDisk{}
		r.config = agent.WithFault(r.config, d.fault)
		r.start()
		d.lead(r)
		r.halt()
		steps = d.seen()
	})
	for _, part := range []string{
		"make 0xA", "open list.json.new", "sync vms/0xA/base.json.new", "rename vms/0xA/record.json", "write seed.iso", "remove 0xA",
		"sync vms/0xA/base-5.json.new", "rename vms/0xA/current.json", "remove vms/0xA/disk-6.qcow2", "remove vms/0xA/base-5.json",
		"begin snap_4", "link vms/0xA/snapshot-5.qcow2",
	} {
		if !slices.Contains(steps, part) {
			t.Errorf("%q is no step of a life: %q", part, steps)
		}
	}
	for name, tt := range map[string]struct {
		with  error
		count int
	}{
		"full":      {syscall.ENOSPC, 1},
		"read only": {syscall.EROFS, 5},
		"failing":   {syscall.EIO, 3},
	} {
		for part := range 4 { // beside each other, since most of it waits for the disk
			t.Run(fmt.Sprint(name, part), func(t *testing.T) {
				t.Parallel()
				for n := 1 + part*tt.count; n <= len(steps); n += 4 * tt.count { // each step fails once
					bubble(t, func(r *rig) {
						d := &sickDisk{first: n, count: tt.count, with: tt.with}
						r.config = agent.WithFault(r.config, d.fault)
						r.start()
						d.lead(r)
						r.halt()
						if r.disks.made != disksOfALife || len(r.folders()) != 0 || len(r.links()) != 0 || r.starts("0xA") != 0 {
							r.Errorf("%s at %q: %d disks made, left: folders %v, links %v", name, d.seen()[n-1], r.disks.made, r.folders(), r.links())
						}
					})
				}
			})
		}
	}
}

// What the disk did not take is written as soon as it does: an agent that is
// started after that knows what the one before knew.
func TestRefusedRecordIsWrittenLater(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		full := true
		var mu sync.Mutex
		r.config = agent.WithFault(r.config, func(step string) error {
			mu.Lock()
			defer mu.Unlock()
			if full && (strings.Contains(step, "record.json") || strings.Contains(step, "list.json")) {
				return syscall.ENOSPC
			}
			return nil
		})
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		mu.Lock()
		full = false
		mu.Unlock()
		time.Sleep(time.Minute)
		r.halt()
		text, err := os.ReadFile(r.dir + "/agent/vms/0xA/record.json")
		if err != nil || !strings.Contains(string(text), `"ready":true`) {
			t.Errorf("record %s, %v; want it ready", text, err)
		}
		text, err = os.ReadFile(r.dir + "/agent/list.json")
		if err != nil || !strings.Contains(string(text), `"0xA"`) {
			t.Errorf("list %s, %v; want the order in it", text, err)
		}
	})
}
