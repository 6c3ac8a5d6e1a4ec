package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// rebooting returns an order to start a rig's ready VM 0xA anew, that is not given
// yet, and its disk.
func rebooting(r *rig) (o vm.Order, disk string) {
	o, disk = halting(r)
	o.Goal, o.Restart = vm.Run, o.Generation
	return o, disk
}

// tells reports how often a line of a VM's story says so.
func (r *rig) tells(id, text string) int {
	n := 0
	for _, s := range r.sighting(id).Steps {
		if strings.Contains(s.Text, text) {
			n++
		}
	}
	return n
}

func TestReboot(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		asked := r.guest(9 * time.Second)
		o, disk := rebooting(r)
		before := r.starts("0xA")
		r.order(o)
		r.until(time.Minute, "is shown as on its way", func() bool { return r.sighting("0xA").Phase == vm.Booting })
		r.reaches("0xA", o.Generation, vm.Ready)
		if r.starts("0xA") != before+1 || asked() != 1 || r.tells("0xA", "restarted") != 1 {
			t.Errorf("%d starts, asked %d times, story %+v", r.starts("0xA")-before, asked(), r.sighting("0xA").Steps)
		}
		time.Sleep(time.Hour)
		r.halt()
		r.start()
		time.Sleep(time.Hour)
		if r.starts("0xA") != before+1 || r.disk("0xA") != disk || len(r.links()) != 1 {
			t.Errorf("%d starts later, disk %q, links %v", r.starts("0xA")-before, r.disk("0xA"), r.links())
		}
	})
}

// A guest that does not listen is switched off and started again after a minute.
func TestRebootOfADeafGuest(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		asked := r.guest(0)
		o, disk := rebooting(r)
		before, begun := r.starts("0xA"), time.Now()
		r.order(o)
		r.reaches("0xA", o.Generation, vm.Ready)
		if took := time.Since(begun); took < time.Minute || took > 90*time.Second || r.starts("0xA") != before+1 || asked() < 2 || r.disk("0xA") != disk {
			t.Errorf("after %s, %d starts, asked %d times, disk %q", took, r.starts("0xA")-before, asked(), r.disk("0xA"))
		}
	})
}

// A reset asks nobody, and the machine is the same.
func TestReset(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		asked := r.guest(0)
		o, disk := rebooting(r)
		o.Abrupt = true
		before := r.starts("0xA")
		r.order(o)
		r.reaches("0xA", o.Generation, vm.Ready)
		time.Sleep(time.Hour)
		if r.starts("0xA") != before || r.host.Resets("0xA") != 1 || asked() != 0 || r.disk("0xA") != disk || r.tells("0xA", "reset") != 1 {
			t.Errorf("%d starts, %d resets, asked %d times, disk %q", r.starts("0xA")-before, r.host.Resets("0xA"), asked(), r.disk("0xA"))
		}
	})
}

// A VM that stopped by itself is not started twice for having been asked to start
// anew.
func TestRebootOfWhatStopped(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		o, _ := rebooting(r)
		before := r.starts("0xA")
		r.host.Kill("0xA", "crash")
		r.order(o)
		r.reaches("0xA", o.Generation, vm.Ready)
		time.Sleep(time.Hour)
		if n := r.starts("0xA") - before; n != 1 {
			t.Errorf("started %d times", n)
		}
	})
}
