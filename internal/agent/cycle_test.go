package agent_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// left is what a server is made of beside its VMs.
type left struct {
	files      []string
	open       int // files of this process
	goroutines int
	links      int
	machines   int
	told       int // VMs in the report
}

func (r *rig) left() left {
	var l left
	err := filepath.WalkDir(r.dir, func(path string, _ fs.DirEntry, err error) error {
		l.files = append(l.files, path)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		r.Fatal(err)
	}
	machines, err := r.config.Hypervisor.List(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	l.open, l.goroutines, l.links, l.machines, l.told = len(fds), runtime.NumGoroutine(), len(r.links()), len(machines), r.told()
	return l
}

// A thousand VMs come and go, and the server is as before: files, open files,
// goroutines, links, machines, and what is told of it.
func TestThousandCycles(t *testing.T) { //nolint:paralleltest // it counts what this process has open
	bubble(t, func(r *rig) {
		const rounds, each = 50, 20
		r.disks.fetchTime = 0
		r.start()
		cycle := func(round int) {
			ids := make([]string, each)
			for n := range each {
				ids[n] = fmt.Sprintf("0x%dx%d", round, n)
				o := order(ids[n], 1, ssh)
				o.Address = address(n)
				r.order(o)
			}
			all := func(p vm.Phase) func() bool {
				return func() bool {
					for _, id := range ids {
						if r.sighting(id).Phase != p {
							return false
						}
					}
					return true
				}
			}
			r.until(10*time.Minute, "all are ready", all(vm.Ready))
			r.change(func(l *vm.List) {
				for i := range l.Orders {
					l.Orders[i].Goal, l.Orders[i].Generation = vm.Remove, 2
				}
			})
			r.until(10*time.Minute, "all are gone", all(vm.Absent))
			r.change(func(l *vm.List) { l.Orders = nil })
			r.until(10*time.Minute, "none is told of", func() bool { return r.told() == 0 })
			time.Sleep(time.Minute)
		}
		cycle(0) // makes what stays, such as the image
		before := r.left()
		for round := range rounds {
			cycle(round + 1)
		}
		after := r.left()
		if !slices.Equal(before.files, after.files) || fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("%+v, was %+v before %d VMs", after, before, rounds*each)
		}
		r.halt()
	})
}
