package hypervisortest

import (
	"testing"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

func (h *host) usage(t *testing.T) []hypervisor.Usage {
	t.Helper()
	all, err := h.driver.Usage(t.Context())
	if err != nil {
		t.Fatalf("Usage: %v", err)
	}
	return all
}

// booted returns what machine a has used once its firmware has read its disk.
func (h *host) booted(t *testing.T) (u hypervisor.Usage) {
	t.Helper()
	Await(t, func() bool {
		all := h.usage(t)
		if len(all) != 1 || all[0].ID != "a" {
			t.Fatalf("Usage = %+v, want that of machine a", all)
		}
		u = all[0]
		return u.Disk != nil && u.Disk.ReadOps > 0 && u.Disk.ReadBytes >= 512 && u.CPU > 0 && u.Memory > 0
	})
	return u
}

func (h *host) usageIsThatOfARun() {
	t := h.t
	if all := h.usage(t); len(all) != 0 {
		t.Errorf("Usage of nothing = %+v", all)
	}
	m := h.machine(t, "a")
	teach(t, m, parrot)
	h.start(t, m)
	first := h.booted(t)
	if want := h.list(t)[0].Started; !first.Started.Equal(want) {
		t.Errorf("Usage of a machine started at %v, want %v", first.Started, want)
	}

	h.Kill(t, "a")
	h.await(t, "a exited")
	if all := h.usage(t); len(all) != 0 {
		t.Errorf("Usage of a dead machine = %+v", all)
	}
	h.ensure(t, "a")
	next := h.booted(t)
	if next.Started.Equal(first.Started) {
		t.Errorf("Usage of the next run = %+v, want that of another one than %+v", next, first)
	}

	h.driver = h.Open(t) // it goes on counting
	again := h.booted(t)
	if !again.Started.Equal(next.Started) || again.CPU < next.CPU || again.Disk.ReadOps < next.Disk.ReadOps || again.Disk.ReadBytes < next.Disk.ReadBytes {
		t.Errorf("a new driver says %+v, want no less than %+v", again, next)
	}
	h.destroy(t, "a")
	if all := h.usage(t); len(all) != 0 {
		t.Errorf("Usage of a machine that was destroyed = %+v", all)
	}
}
