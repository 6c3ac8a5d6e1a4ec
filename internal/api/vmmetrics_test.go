package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/usage"
	"github.com/cpucloud/cpucloud/internal/vm"
)

type metricsAnswer struct {
	VMID   string           `json:"vmId"`
	VCPU   int              `json:"vcpu"`
	From   time.Time        `json:"from"`
	To     time.Time        `json:"to"`
	Step   int              `json:"stepSeconds"`
	Points []map[string]any `json:"points"`
}

// atWork is a slot in which one and a half processors were used, and so on.
func atWork(at time.Time) usage.Point {
	p := usage.Point{At: usage.SlotOf(at), Known: [3]int64{1, 1, 1}}
	p.Sum = [11]uint64{22_500, 750, 2 << 20, 15_000, 30_000, 15, 30, 150, 300, 3, 6}
	return p
}

func TestVMMetrics(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	path := "/v1/vms/" + id + "/metrics"
	c.report(vm.Ready)
	begun := c.control.Now()
	c.pass(3 * time.Minute)
	noDisk := atWork(begun.Add(2 * time.Minute))
	noDisk.Known[usage.Disk] = 0
	for _, f := range []usage.Figure{usage.ReadBytes, usage.WriteBytes, usage.ReadOps, usage.WriteOps} {
		noDisk.Sum[f] = 0
	}
	err := c.control.Meter(t.Context(), c.agent.server, usage.Report{At: c.control.Now(), VMs: []usage.OfVM{{
		ID: id, Points: []usage.Point{atWork(begun), atWork(begun.Add(usage.Width)), noDisk},
	}}})
	if err != nil {
		t.Fatal(err)
	}

	var got metricsAnswer
	c.send("GET", path+"?step=1m&from="+begun.Format(time.RFC3339), "").wants(http.StatusOK, &got)
	if got.VMID != id || got.VCPU != 2 || got.Step != 60 || !got.From.Equal(begun) || !got.To.Equal(begun.Add(3*time.Minute)) || len(got.Points) != 3 {
		t.Fatalf("answered %+v", got)
	}
	figures := map[string]float64{
		"cpu": 1.5, "cpuShare": 0.75, "steal": 0.05, "memoryBytes": 2 << 30, "diskReadBytes": 1000, "diskWriteBytes": 2000, "diskReads": 1, "diskWrites": 2,
		"netInBytes": 10, "netOutBytes": 20, "netInPackets": 0.2, "netOutPackets": 0.4,
	}
	for name, figure := range figures {
		if got.Points[0][name] != figure {
			t.Errorf("%s is %v, want %v on average over the half that is known", name, got.Points[0][name], figure)
		}
		if value, there := got.Points[1][name]; !there || value != nil {
			t.Errorf("%s of a gap is %v, want null", name, value)
		}
		want := any(figure)
		if strings.HasPrefix(name, "disk") {
			want = nil
		}
		if got.Points[2][name] != want {
			t.Errorf("%s where the disk isn't known is %v, want %v", name, got.Points[2][name], want)
		}
	}
	if len(got.Points[0]) != len(figures)+1 {
		t.Errorf("a point is %v, want %d figures", got.Points[0], len(figures))
	}

	var all []map[string]any
	c.send("GET", "/v1/metrics", "").wants(http.StatusOK, &all)
	if len(all) != 1 || all[0]["id"] != id || all[0]["at"] != begun.Add(2*time.Minute).Format(time.RFC3339) || all[0]["cpu"] != 1.5 || all[0]["diskReads"] != nil ||
		all[0]["memoryTotalBytes"] != float64(4<<30) {
		t.Errorf("newest of all VMs: %v", all)
	}

	_, stranger := c.newAccount("Bert", "customer")
	c.sendAs(stranger, "GET", path, "").refused(http.StatusNotFound, "no VM")
	if body := c.sendAs(stranger, "GET", "/v1/metrics", "").body; strings.TrimSpace(body) != "[]" {
		t.Errorf("a stranger sees %s", body)
	}
	c.send("GET", "/v1/vms/"+unknown+"/metrics", "").refused(http.StatusNotFound, "no VM")
	c.send("GET", path+"?from=yesterday", "").refused(http.StatusUnprocessableEntity, "RFC 3339")
	c.send("GET", path+"?step=7s", "").refused(http.StatusUnprocessableEntity, "a multiple of 15s")
	c.send("GET", path+"?step=soon", "").refused(http.StatusUnprocessableEntity, "step")
	c.send("GET", path+"?step=15s&from="+begun.Format(time.RFC3339)+"&to=2026-03-01T00:00:00Z", "").refused(http.StatusUnprocessableEntity, "at most 1500")
	c.send("DELETE", "/vms/v3", `{"vmIds": ["`+id+`"]}`)
	c.send("GET", path, "").refused(http.StatusNotFound, "no VM")
}
