package agent_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

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
	r.start()
	for range 60 {
		id := fmt.Sprint("0x", dice.IntN(vms))
		o, asked := orders[id]
		switch dice.IntN(9) {
		case 0, 1:
			if !asked {
				o = order(id, 1, ssh)
				o.Address = address(len(orders))
			}
		case 2, 3:
			if asked && o.Goal == vm.Run {
				o.Generation++
				o.Ports = []vm.Port{ssh, {Number: uint16(1000 + dice.IntN(9)), Protocol: vm.UDP}}
			}
		case 4:
			if asked && o.Goal == vm.Run && dice.IntN(2) == 0 {
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
		want := vm.Ready
		if o.Goal == vm.Remove {
			want = vm.Absent
		}
		r.until(20*time.Minute, fmt.Sprint(id, " ", want), func() bool {
			s := r.sighting(id)
			return s.Phase == want && s.Generation == o.Generation && (r.starts(id) > 0) == (want == vm.Ready)
		})
	}
	runs := 0
	for _, l := range r.links() {
		runs++
		if o := orders[l.ID]; o.Goal != vm.Run || len(l.Ports) != len(o.Ports) || l.Ports[len(l.Ports)-1].Number != o.Ports[len(o.Ports)-1].Number {
			r.Errorf("link %+v for order %+v", l, o)
		}
	}
	if got := len(r.folders()); got != runs {
		r.Errorf("%d folders for %d VMs", got, runs)
	}
}
