package cli_test

import (
	"net/http"
	"strings"
	"time"
)

// used returns what a VM uses that is busier the later it was made; one whose name
// begins with "new" is not known yet.
func used(name string, n int) doc {
	figures := []string{"cpu", "cpuShare", "steal", "memoryBytes", "diskReadBytes", "diskWriteBytes", "diskReads", "diskWrites", "netInBytes", "netOutBytes", "netInPackets", "netOutPackets"}
	u := doc{}
	for i, figure := range figures {
		u[figure] = float64(n) * []float64{0.25, 0.125, 0.01, 256 << 20, 0, 4096, 0, 1, 1500, 150_000_000, 1, 100_000}[i]
		if strings.HasPrefix(name, "new") {
			u[figure] = nil
		}
	}
	return u
}

// latest answers with what all VMs use.
func (s *stub) latest(w http.ResponseWriter) {
	list := []doc{}
	for i, v := range s.vms {
		name, _ := v["vmName"].(string)
		u := used(name, i+1)
		u["id"], u["vmName"], u["status"], u["vcpu"], u["memoryTotalBytes"], u["at"] = v["id"], name, v["status"], 2, 4<<30, "2026-01-31T12:00:00Z"
		if u["cpu"] == nil {
			u["at"] = nil
		}
		list = append(list, u)
	}
	answer(w, http.StatusOK, list)
}

// metrics answers with ten points, of which the fourth is a gap.
func (s *stub) metrics(w http.ResponseWriter, r *http.Request) {
	begun := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	step := 60
	if asked := r.URL.Query().Get("step"); asked != "" {
		d, err := time.ParseDuration(asked)
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, "step")
			return
		}
		step = int(d.Seconds())
	}
	if from := r.URL.Query().Get("from"); from != "" {
		at, err := time.Parse(time.RFC3339, from)
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, "from")
			return
		}
		begun = at
	}
	points := []doc{}
	for i := range 10 {
		name := ""
		if i == 3 {
			name = "new"
		}
		p := used(name, i)
		p["at"] = begun.Add(time.Duration(i*step) * time.Second)
		points = append(points, p)
	}
	answer(w, http.StatusOK, doc{
		"vmId": vmOf(r), "vcpu": 2, "from": begun, "to": begun.Add(time.Duration(10*step) * time.Second), "stepSeconds": step, "points": points,
	})
}
