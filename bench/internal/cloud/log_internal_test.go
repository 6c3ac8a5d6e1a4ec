package cloud

import (
	"strings"
	"testing"
	"time"
)

// The lines are an agent's, with a second VM whose launch goes on meanwhile.
const agentLog = `VMs run by QEMU 7.2 with tcg
time=2026-11-25T09:25:21.000Z level=INFO msg="new orders" epoch=1 revision=1 orders=0
time=2026-11-25T09:25:22.100Z level=INFO msg="new orders" epoch=1 revision=2 orders=1
time=2026-11-25T09:25:22.250Z level=INFO msg="machine started" machine_id=0xA took=70ms
time=2026-11-25T09:25:23.000Z level=INFO msg="new orders" epoch=1 revision=3 orders=2
time=2026-11-25T09:25:23.100Z level=INFO msg="new orders" epoch=1 revision=4 orders=3
time=2026-11-25T09:25:23.200Z level=INFO msg="machine started" machine_id=0xC took=70ms
time=2026-11-25T09:25:23.2`

func TestLaunch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		id   string
		took time.Duration
		says string
	}{
		{"0xA", 150 * time.Millisecond, ""},
		{"0xC", 100 * time.Millisecond, ""},
		{"0xB", 0, "no start of vm 0xB"},
		{"0x", 0, "no start"}, // part of another's id
	} {
		ordered, running, err := launch([]byte(agentLog), test.id)
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("launch(%s) gave error %v, want %q", test.id, err, test.says)
			}
			continue
		}
		if err != nil || running.Sub(ordered) != test.took {
			t.Errorf("launch(%s) took %s, %v; want %s", test.id, running.Sub(ordered), err, test.took)
		}
	}
	early, _, _ := strings.Cut(agentLog, "time=2026-11-25T09:25:22.250Z")
	if _, _, err := launch([]byte(strings.ReplaceAll(early, `msg="new orders"`, "")+"time=2026-11-25T09:25:22.250Z msg=\"machine started\" machine_id=0xA took=1ms"), "0xA"); err == nil {
		t.Error("a start without orders is taken")
	}
}
