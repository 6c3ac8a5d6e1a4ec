//go:build vm

package vmtest_test

import (
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
)

// What a guest does is seen from outside: a loop as processor time, a file as bytes of
// its disk, a download as bytes of its network; also by those who come after a crash.
func TestMetrics(t *testing.T) { //nolint:paralleltest // see TestLife
	c := newCloud(t)
	id := c.deploy(c.wish("web", demoImage))
	guest := c.login("root", c.reach(id, client.StatusActive).Address())
	begun := time.Now()
	const file, sent = 64 << 20, 8 << 20
	guest.run("dd if=/dev/zero of=/root/file bs=1M count=64 && sync && rm /root/file")
	guest.run("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
	if got := guest.run("head -c 8388608 /dev/zero | tr '\\0' a"); len(got) != sent {
		t.Fatalf("it sent %d bytes", len(got))
	}
	var first usedSince
	c.until("what it did is known", func() bool {
		first = c.used(id, begun)
		return first.wrote >= file && first.out >= sent && first.cpu > 0.5
	})
	t.Logf("seen: %+v", first)
	if first.out > 2*sent || first.most > 3 { // what it wrote at its first boot is more than the file
		t.Errorf("seen: %+v, want about what it did", first)
	}

	c.restart() // the machine runs on, and so do its counters
	guest = c.login("root", c.reach(id, client.StatusActive).Address())
	restarted := time.Now()
	c.until("it is counted again", func() bool { return c.used(id, begun).newest.After(restarted) })
	guest.run("dd if=/dev/zero of=/root/file bs=1M count=64 && sync")
	var second usedSince
	c.until("what it did after that is known", func() bool {
		second = c.used(id, begun)
		return second.wrote >= first.wrote+file
	})
	t.Logf("seen: %+v", second)
	if second.wrote >= 2*first.wrote || second.most > 3 {
		t.Errorf("seen: %+v, want what it did, once", second)
	}
}

// usedSince is what a VM used: seconds of processors, bytes, and the most processors at once.
type usedSince struct {
	wrote, out, cpu, most float64
	newest                time.Time // point in which anything is known
}

func (c *cloud) used(id string, since time.Time) (sum usedSince) {
	c.Helper()
	m, err := c.anna.VMMetrics(c.Context(), id, client.MetricsOptions{From: since.Add(-time.Minute), Step: 15 * time.Second})
	if err != nil {
		c.Fatalf("metrics: %v", err)
	}
	for _, p := range m.Points {
		sum.wrote += 15 * figure(c.T, p.WriteBytes)
		sum.out += 15 * figure(c.T, p.BytesOut)
		sum.cpu += 15 * figure(c.T, p.CPU)
		sum.most = max(sum.most, figure(c.T, p.CPU))
		if p.CPU != nil {
			sum.newest = p.At
		}
	}
	return sum
}

// figure returns a figure that is not negative, 0 for one that isn't known.
func figure(t *testing.T, f *float64) float64 {
	t.Helper()
	if f == nil {
		return 0
	}
	if *f < 0 {
		t.Errorf("a figure is %v", *f)
	}
	return *f
}
