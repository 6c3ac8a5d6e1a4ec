package agent_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Whatever happens in whatever order, in the end there is what was ordered, no
// disk was ever made anew, and nothing is left of what was removed.
func TestChaos(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) { chaos(r, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func chaos(r *rig, dice *rand.Rand) {
	const vms = 5
	orders := map[string]vm.Order{}
	known := map[string]string{} // the disks that were seen
	guests := rand.New(rand.NewPCG(dice.Uint64(), 2))
	var mu sync.Mutex
	r.host.OnShutdown = func(m hypervisor.Machine) bool { // now, soon, never
		mu.Lock()
		defer mu.Unlock()
		if guests.IntN(3) == 0 {
			time.AfterFunc(time.Duration(guests.ExpFloat64()*float64(time.Second)), func() { r.host.Kill(m.ID, "the guest powered off") })
		}
		return guests.IntN(3) == 0
	}
	r.start()
	for range 60 {
		id := fmt.Sprint("0x", dice.IntN(vms))
		o, asked := orders[id]
		switch dice.IntN(11) {
		case 0, 1:
			if !asked {
				o = order(id, 1, ssh)
				o.Address = address(len(orders))
			}
		case 2, 3:
			if asked && o.Goal != vm.Remove {
				o.Generation++
				o.Ports = []vm.Port{ssh, {Number: uint16(1000 + dice.IntN(9)), Protocol: vm.UDP}}
			}
		case 4:
			if asked && o.Goal != vm.Remove && dice.IntN(2) == 0 {
				o.Generation++
				o.Goal = vm.Remove
			}
		case 5:
			r.halt()
			r.start()
		case 6:
			r.host.Kill(id, "crash")
		case 7:
			r.setAway(dice.IntN(2) == 0)
		case 8:
			if dice.IntN(4) == 0 {
				r.halt()
				r.host.Restart()
				_ = r.net.Crash()
				r.start()
			}
		case 10:
			if asked && o.Goal != vm.Remove {
				o.Generation++
				o.Restart, o.Abrupt = o.Generation, dice.IntN(2) == 0
			}
		case 9:
			if asked && o.Goal != vm.Remove {
				o.Generation++
				o.Goal = map[vm.Goal]vm.Goal{vm.Run: vm.Halt, vm.Halt: vm.Run}[o.Goal]
			}
		}
		if o.ID != "" && o.Generation != orders[id].Generation {
			orders[id] = o
			r.order(o)
		}
		time.Sleep(time.Duration(dice.ExpFloat64() * float64(time.Second)))
		for id := range orders {
			now := r.disk(id)
			if old := known[id]; old != "" && now != old && (now != "" || orders[id].Goal != vm.Remove) {
				r.Fatalf("disk of %s was %q, is %q", id, old, now)
			}
			known[id] = now
		}
	}
	r.setAway(false)
	for id, o := range orders {
		want := map[vm.Goal]vm.Phase{vm.Run: vm.Ready, vm.Halt: vm.Halted, vm.Remove: vm.Absent}[o.Goal]
		r.until(20*time.Minute, fmt.Sprint(id, " ", want), func() bool {
			s := r.sighting(id)
			return s.Phase == want && s.Generation == o.Generation && (r.starts(id) > 0) == (want == vm.Ready)
		})
	}
	linked := map[string]network.Link{}
	for _, l := range r.links() {
		linked[l.ID] = l
	}
	for id, o := range orders {
		files, l := slices.Contains(r.folders(), id), linked[id]
		switch o.Goal {
		case vm.Run:
			if !files || len(l.Ports) != len(o.Ports) || l.Ports[len(l.Ports)-1].Number != o.Ports[len(o.Ports)-1].Number {
				r.Errorf("link %+v, files %t for order %+v", l, files, o)
			}
		case vm.Halt:
			if now := r.disk(id); now != known[id] {
				r.Errorf("disk of %s was %q, is %q", id, known[id], now)
			}
		case vm.Remove:
			if files || l.ID != "" {
				r.Errorf("link %+v, files %t of %s, which was removed", l, files, id)
			}
		}
	}
}
