package agent_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/usage"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// metrics returns what the control plane knows of a VM.
func (c *control) metrics(id string) []usage.Point {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.metered[id])
}

// meteredTimes returns how often metrics came.
func (c *control) meteredTimes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.meterings)
}

func (c *control) unmeter(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unmetered = err
}

// work has VM 0xA do as much in each slot, for some slots.
func (r *rig) work(slots int) {
	for range slots {
		time.Sleep(usage.Width)
		r.host.Use("0xA", func(u *hypervisor.Usage) {
			u.CPU += 3 * time.Second
			u.Steal += time.Second
			u.Disk.WriteBytes += 4096
			u.Disk.WriteOps++
		})
		r.net.Carry("0xA", network.Traffic{BytesOut: 1500, PacketsOut: 1})
	}
}

// sumOf checks that a series has every slot and none twice, and adds it up.
func sumOf(t *testing.T, series []usage.Point) (sum usage.Point) {
	t.Helper()
	for i, p := range series {
		if i > 0 && p.At != series[i-1].At+1 {
			t.Errorf("slot %d follows %d", p.At, series[i-1].At)
		}
		if p.Check(1) != nil {
			t.Errorf("%+v can't be", p)
		}
		sum.Add(p)
	}
	return sum
}

// What VMs use is told once a minute, in whole minutes, and of each slot.
func TestMetricsAreTold(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		r.work(40)
		time.Sleep(75 * time.Second)
		sum := sumOf(t, r.metrics("0xA"))
		if sum.Sum[usage.CPU] != 40*3000+1 { // and what it took to boot
			t.Errorf("cpu = %d ms, want what it used since it was started", sum.Sum[usage.CPU])
		}
		if sum.Sum[usage.Steal] != 40*1000 || sum.Sum[usage.WriteBytes] != 40*4096 || sum.Sum[usage.WriteOps] != 40 ||
			sum.Sum[usage.BytesOut] != 40*1500 || sum.Sum[usage.PacketsOut] != 40 || sum.Sum[usage.ReadOps] != 1 { // the boot's
			t.Errorf("sums = %+v, want those of 40 slots", sum)
		}
		if mean, ok := sum.Mean(usage.Memory); !ok || mean != 64<<10 {
			t.Errorf("memory = %v KiB on average, want %d", mean, 64<<10)
		}
		if n := r.meteredTimes(); n < 10 || n > 13 {
			t.Errorf("in 11 minutes it told %d times", n)
		}
		for _, report := range r.meterings {
			for _, v := range report.VMs {
				if last := v.Points[len(v.Points)-1].At; last+1 != (last+1).Floor(4) || !last.Time().Before(report.At) {
					t.Errorf("at %v it told up to slot %d, want whole minutes", report.At, last)
				}
			}
		}
	})
}

// An agent that starts anew goes on with what machines use from then on: it neither
// tells of all that they ever used, nor of less than nothing.
func TestMetricsAfterRestart(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		r.work(100)
		r.halt()
		before := len(r.metrics("0xA"))
		r.work(3)
		r.start()
		r.work(20)
		time.Sleep(75 * time.Second)
		series := r.metrics("0xA")[before:]
		if len(series) < 15 {
			t.Fatalf("%d points after the restart", len(series))
		}
		for _, p := range series {
			if p.Sum[usage.CPU] > 3000 {
				t.Errorf("after a restart slot %d has %d ms, want at most 3000", p.At, p.Sum[usage.CPU])
			}
		}
		// A machine that is started again counts from nothing.
		n := len(r.metrics("0xA"))
		r.host.Kill("0xA", "it crashed")
		r.reaches("0xA", 1, vm.Ready)
		r.work(8)
		time.Sleep(75 * time.Second)
		var sum usage.Point
		for _, p := range r.metrics("0xA")[n:] {
			sum.Add(p)
		}
		if sum.Sum[usage.CPU] != 8*3000+1 {
			t.Errorf("the next run used %d ms, want %d", sum.Sum[usage.CPU], 8*3000+1)
		}
	})
}

// What can't be told is kept for an hour, and told when the control plane is back.
func TestMetricsWhileControlPlaneIsAway(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		r.work(8)
		r.setAway(true)
		gone := usage.SlotOf(time.Now())
		r.work(4 * 60 * 3)
		r.setAway(false)
		back := usage.SlotOf(time.Now())
		r.work(8)
		time.Sleep(75 * time.Second)
		series := r.metrics("0xA")
		lost := usage.Within(series, gone+8, back-4*60-8)
		kept := usage.Within(series, back-4*60+8, back)
		if len(lost) > 0 || len(kept) != 4*60-8 {
			t.Errorf("of three hours %d old points came and %d of the last hour, want none and all", len(lost), len(kept))
		}
		for _, p := range kept {
			if p.Sum[usage.CPU] != 3000 {
				t.Errorf("slot %d has %d ms, want 3000", p.At, p.Sum[usage.CPU])
			}
		}
	})
}

// Metrics that are refused cost nobody anything: the control plane is left in peace for
// a while, and VMs go on.
func TestMetricsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]error{
		"an older control plane": fault.New(fault.NotFound, "no such page"),
		"a wrong clock":          fault.New(fault.Conflict, "the clock of this server is wrong"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				asked := 0
				r.unmeter(refusal)
				r.config.HTTP.Transport = counting{r.control, &asked}
				r.start()
				r.order(order("0xA", 1, ssh))
				r.reaches("0xA", 1, vm.Ready)
				r.work(4 * 60)
				if asked == 0 || asked > 8 {
					t.Errorf("in an hour it asked %d times, want every ten minutes", asked)
				}
				r.order(order("0xA", 2, ssh, vm.Port{Number: 80, Protocol: vm.TCP}))
				r.reaches("0xA", 2, vm.Ready)
				r.unmeter(nil)
				r.until(12*time.Minute, "metrics come", func() bool { return len(r.metrics("0xA")) > 0 })
			})
		})
	}
}

// counting counts how often metrics are told.
type counting struct {
	http.RoundTripper
	asked *int
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/metrics") {
		*c.asked++
	}
	return c.RoundTripper.RoundTrip(r)
}
