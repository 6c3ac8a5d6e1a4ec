package wire_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/usage"
	"github.com/cpucloud/cpucloud/internal/wire"
)

// meters is a control plane that keeps metrics.
type meters struct {
	server  string
	told    []usage.Report
	refusal error
}

func (m *meters) Meter(_ context.Context, serverID string, r usage.Report) error {
	m.server = serverID
	m.told = append(m.told, r)
	return m.refusal
}

func useful(n int) (series []usage.Point) {
	for i := range n {
		p := usage.Point{At: usage.Slot(100 + i), Known: [3]int64{1, 1, 0}}
		p.Sum[usage.CPU] = uint64(i)
		series = append(series, p)
	}
	return series
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	c, m := newControl(1), &meters{}
	handler := wire.Handler(c, wire.Config{Meters: m})
	client := join(t, c, direct{handler: handler})
	want := usage.Report{At: time.Date(2026, 3, 1, 12, 0, 0, 5000, time.UTC), VMs: []usage.OfVM{{ID: "0xA", Points: useful(240)}, {ID: "0xB", Points: useful(1)}}}
	if err := client.Metrics(t.Context(), want); err != nil {
		t.Fatalf("Metrics: %v", err)
	}
	if m.server != "srv_1" || len(m.told) != 1 || !reflect.DeepEqual(m.told[0], want) {
		t.Errorf("of server %q it was told %+v, want %+v", m.server, m.told, want)
	}
	m.refusal = fault.New(fault.Conflict, "the clock is wrong")
	if err := client.Metrics(t.Context(), want); !fault.Is(err, fault.Conflict) || fault.Message(err) != "the clock is wrong" {
		t.Errorf("Metrics that are refused: %v", err)
	}
	status := 0
	stranger := direct{
		handler: handler, before: func(r *http.Request) { r.Header.Set("Cpucloud-Server", "srv_2") }, tamper: func(r *http.Response) { status = r.StatusCode },
	}
	if err := join(t, c, stranger).Metrics(t.Context(), want); err == nil || status != http.StatusUnauthorized || len(m.told) != 2 {
		t.Errorf("Metrics in the name of another server: %v, status %d, told %d times", err, status, len(m.told))
	}
	forged := direct{handler: handler, tamper: func(r *http.Response) { r.Header.Set("Cpucloud-Signature", "AAAA") }}
	if err := join(t, c, forged).Metrics(t.Context(), want); !errors.Is(err, wire.ErrForged) {
		t.Errorf("an answer of somebody else: %v, want %v", err, wire.ErrForged)
	}
}

// Who knows nothing of metrics says so, whether it is older or keeps none.
func TestMetricsNobodyKeeps(t *testing.T) {
	t.Parallel()
	c := newControl(1)
	for name, handler := range map[string]http.Handler{"an older one": http.NotFoundHandler(), "one without": wire.Handler(c, wire.Config{})} {
		if err := join(t, c, direct{handler: handler}).Metrics(t.Context(), usage.Report{}); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v, want a NotFound fault", name, err)
		}
	}
}

func TestGarbageMetrics(t *testing.T) {
	t.Parallel()
	c, m := newControl(1), &meters{}
	point := useful(1)
	wide := usage.Append(nil, []usage.Point{{At: 4, Known: [3]int64{4, 4, 4}}}, 4)
	crowd := make([]any, 4097)
	for i := range crowd {
		crowd[i] = map[string]any{"id": fmt.Sprint("0x", i), "points": usage.Append(nil, point, 1)}
	}
	for name, body := range map[string]any{
		"no id":              told("", usage.Append(nil, point, 1)),
		"a long id":          told(string(bytes.Repeat([]byte("a"), 65)), usage.Append(nil, point, 1)),
		"no series":          told("0xA", []byte("nonsense")),
		"points of a minute": told("0xA", wide),
		"too many points":    told("0xA", usage.Append(nil, useful(481), 1)),
		"an unknown member":  map[string]any{"at": "2026-03-01T12:00:00Z", "vms": []any{}, "later": 1},
		"a VM twice": map[string]any{"at": "2026-03-01T12:00:00Z", "vms": []any{
			map[string]any{"id": "0xA", "points": usage.Append(nil, point, 1)}, map[string]any{"id": "0xA", "points": usage.Append(nil, point, 1)},
		}},
		"too many VMs": map[string]any{"at": "2026-03-01T12:00:00Z", "vms": crowd},
	} {
		status := c.post(t, m, body)
		if status != http.StatusBadRequest && status != http.StatusUnprocessableEntity {
			t.Errorf("%s is answered with %d", name, status)
		}
	}
	if len(m.told) > 0 {
		t.Errorf("it was told %+v", m.told)
	}
	if status := c.post(t, m, told("0xA", usage.Append(nil, point, 1))); status != http.StatusOK || len(m.told) != 1 {
		t.Errorf("what is in order is answered with %d", status)
	}
}

func told(id string, points []byte) any {
	return map[string]any{"at": "2026-03-01T12:00:00Z", "vms": []any{map[string]any{"id": id, "points": points}}}
}

// post sends a body as metrics in the place of what a client says, signed as it is.
func (c *control) post(t *testing.T, m *meters, body any) (status int) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	d := direct{handler: wire.Handler(c, wire.Config{Meters: m}), before: func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		r.Header.Set("Cpucloud-Signature", sign(r.URL.Path, r.Header.Get("Cpucloud-Server"), text))
	}, tamper: func(r *http.Response) { status = r.StatusCode }}
	_ = join(t, c, d).Metrics(t.Context(), usage.Report{}) // whose answer belongs to another request
	return status
}

// A thousand VMs of an hour fit into what an agent sends at once.
func TestThousandMeteredVMsFit(t *testing.T) {
	t.Parallel()
	c, m := newControl(1), &meters{}
	client := join(t, c, direct{handler: wire.Handler(c, wire.Config{Meters: m})})
	var r usage.Report
	for i := range 1000 {
		series := useful(20)
		for j := range series {
			for _, f := range usage.Figures() {
				if f.Group() != usage.Net {
					series[j].Sum[f] = uint64((i*j)%2) * usage.MaxSum
				}
			}
		}
		r.VMs = append(r.VMs, usage.OfVM{ID: fmt.Sprintf("0x%040d", i), Points: series})
	}
	if err := client.Metrics(t.Context(), r); err != nil || len(m.told) != 1 {
		t.Errorf("Metrics: %v", err)
	}
}

// sign signs a request as docs/agent-protocol.md says, with the key of the agent that joined.
func sign(path, server string, body []byte) string {
	text := fmt.Appendf(nil, "cpucloud agent request 1\n%s\n%s\n%x", path, server, sha256.Sum256(body))
	return base64.StdEncoding.EncodeToString(ed25519.Sign(key(7), text))
}
