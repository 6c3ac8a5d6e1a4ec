package wire_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/vm"
	"github.com/cpucloud/cpucloud/internal/wire"
)

// control is a control plane of one server.
type control struct {
	key ed25519.PrivateKey

	mu       sync.Mutex
	token    string
	agents   map[string]ed25519.PublicKey
	list     vm.List
	sequence int64
	reports  []vm.Report
	watchers map[chan struct{}]bool
	failure  error // of Orders
	refusal  error // of Observe
}

func newControl(seed byte) *control {
	return &control{
		key: key(seed), token: "tok_1", agents: map[string]ed25519.PublicKey{},
		list: vm.List{Server: "srv_1", Epoch: 1, Revision: 5}, watchers: map[chan struct{}]bool{},
	}
}

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func (c *control) Enroll(_ context.Context, token string, key ed25519.PublicKey, _ capacity.Inventory) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if token != c.token {
		return "", fault.New(fault.Denied, "this token is not known")
	}
	c.agents["srv_1"] = key
	return "srv_1", nil
}

func (c *control) AgentKey(_ context.Context, id string) (ed25519.PublicKey, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.agents[id]; k != nil {
		return k, nil
	}
	return nil, fault.New(fault.NotFound, "no such server")
}

func (c *control) Observe(_ context.Context, _ string, r vm.Report) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusal != nil {
		return c.refusal
	}
	if r.Sequence <= c.sequence {
		return fault.New(fault.Conflict, "a newer report was seen")
	}
	c.sequence = r.Sequence
	c.reports = append(c.reports, r)
	return nil
}

func (c *control) Orders(context.Context, string) (vm.List, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list, c.failure
}

func (c *control) Changes(string) (<-chan struct{}, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan struct{}, 1)
	c.watchers[ch] = true
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, ch)
	}
}

func (c *control) Sign(message []byte) []byte { return ed25519.Sign(c.key, message) }

func (c *control) ControlKey() ed25519.PublicKey { return c.key.Public().(ed25519.PublicKey) }

// order changes the list and wakes the polls.
func (c *control) order(change func(*vm.List)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.list)
	for ch := range c.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// direct carries requests to a handler without a network, so that a test can
// stand in between and clocks can be faked.
type direct struct {
	handler http.Handler
	tamper  func(*http.Response)
	before  func(*http.Request)
}

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if d.before != nil {
		d.before(r)
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	answer := w.Result()
	if d.tamper != nil {
		d.tamper(answer)
	}
	return answer, nil
}

// join enrols an agent at c and returns its client, whose requests go through d.
func join(t *testing.T, c *control, d direct) *wire.Client {
	t.Helper()
	plain := &http.Client{Transport: direct{handler: wire.Handler(c, wire.Config{})}}
	id, err := wire.Enroll(t.Context(), "https://control.test", plain, "tok_1", key(7), capacity.Inventory{})
	if err != nil {
		t.Fatalf("Enroll: %v", err)
	}
	if d.handler == nil {
		d.handler = wire.Handler(c, wire.Config{})
	}
	client, err := wire.NewClient("https://control.test", id, &http.Client{Transport: d})
	if err != nil {
		t.Fatalf("NewClient: %v", err)
	}
	return client
}

func TestEnroll(t *testing.T) {
	t.Parallel()
	c := newControl(1)
	server := httptest.NewServer(wire.Handler(c, wire.Config{}))
	t.Cleanup(server.Close)
	id, err := wire.Enroll(t.Context(), server.URL, nil, "tok_1", key(7), capacity.Inventory{})
	if err != nil {
		t.Fatalf("Enroll: %v", err)
	}
	if id.Server != "srv_1" || !id.Control.Equal(c.ControlKey()) {
		t.Errorf("Enroll = server %q, control key %x", id.Server, id.Control)
	}
	if got := fmt.Sprint(id); strings.Contains(got, string(id.Key)) || got != "srv_1" {
		t.Errorf("an identity prints as %q, want its server alone", got)
	}
	if _, err = wire.Enroll(t.Context(), server.URL, nil, "tok_2", key(8), capacity.Inventory{}); !fault.Is(err, fault.Denied) {
		t.Errorf("Enroll with a wrong token: %v, want a Denied fault", err)
	}
	if !c.agents["srv_1"].Equal(key(7).Public()) {
		t.Error("a refused agent has replaced the key of another")
	}
}

func TestEnrollProvesTheKey(t *testing.T) {
	t.Parallel()
	c := newControl(1)
	swap := direct{handler: wire.Handler(c, wire.Config{}), before: func(r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m map[string]any
		_ = json.Unmarshal(body, &m)
		m["public_key"] = key(9).Public()
		body, _ = json.Marshal(m)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}}
	_, err := wire.Enroll(t.Context(), "https://control.test", &http.Client{Transport: swap}, "tok_1", key(7), capacity.Inventory{})
	if !fault.Is(err, fault.Denied) || len(c.agents) != 0 {
		t.Errorf("Enroll with a key put in its place: %v, agents %v; want a Denied fault and none", err, c.agents)
	}
}

func TestSyncTellsAndLearns(t *testing.T) {
	t.Parallel()
	c := newControl(1)
	c.list.Orders = []vm.Order{{ID: "0xA", Generation: 2, Goal: vm.Run}}
	client := join(t, c, direct{})
	report := vm.Report{Sequence: 1, VMs: []vm.Sighting{{ID: "0xA", Phase: vm.Preparing, Steps: []vm.Step{{Key: "image", Text: "fetching"}}}}}
	list, news, err := client.Sync(t.Context(), report, vm.List{}, 0)
	if err != nil || !news || list.Revision != 5 || len(list.Orders) != 1 || list.Orders[0].Generation != 2 {
		t.Fatalf("Sync = %+v, %t, %v; want revision 5 with one order", list, news, err)
	}
	if got := c.reports[0].VMs[0].Steps[0].Text; got != "fetching" {
		t.Errorf("control was told %q", got)
	}
	again, news, err := client.Sync(t.Context(), vm.Report{Sequence: 2}, list, 0)
	if err != nil || news || len(again.Orders) != 1 {
		t.Errorf("Sync without news = %+v, %t, %v; want the list that is known", again, news, err)
	}
	if _, _, err = client.Sync(t.Context(), vm.Report{Sequence: 2}, list, 0); !fault.Is(err, fault.Conflict) {
		t.Errorf("Sync with an old sequence: %v, want a Conflict fault", err)
	}
}

// A copy is told apart from a late report by what stands beside the sentence,
// which is there for agents and people who know no codes.
func TestCopiesAreToldByCode(t *testing.T) {
	t.Parallel()
	says := fault.Message(vm.ErrCopied)
	for name, tt := range map[string]struct {
		refusal error
		copied  bool
		body    string
	}{
		"a copy":             {vm.ErrCopied, true, `{"error":"` + says + `","code":"copied_identity"}`},
		"a copy, wrapped":    {fmt.Errorf("observe: %w", vm.ErrCopied), true, `{"error":"` + says + `","code":"copied_identity"}`},
		"a late report":      {fault.New(fault.Conflict, "not newer"), false, `{"error":"not newer"}`},
		"its sentence alone": {fault.New(fault.Conflict, says), false, `{"error":"` + says + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newControl(1)
			c.refusal = tt.refusal
			var body []byte
			client := join(t, c, direct{tamper: func(r *http.Response) {
				body, _ = io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(body))
			}})
			_, _, err := client.Sync(t.Context(), vm.Report{Sequence: 1}, vm.List{}, 0)
			if errors.Is(err, vm.ErrCopied) != tt.copied || !fault.Is(err, fault.Conflict) || fault.Message(err) != fault.Message(tt.refusal) {
				t.Errorf("Sync: %v, want a Conflict fault that is vm.ErrCopied: %t, and says %q", err, tt.copied, fault.Message(tt.refusal))
			}
			if got := string(body); got != tt.body {
				t.Errorf("the answer is %s, want %s", got, tt.body)
			}
		})
	}
}

func TestPollIsHeldUntilThereIsNews(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newControl(1)
		client := join(t, c, direct{})
		known := vm.List{Server: "srv_1", Epoch: 1, Revision: 5}
		start := time.Now()
		_, news, err := client.Sync(t.Context(), vm.Report{Sequence: 1}, known, time.Hour)
		if waited := time.Since(start); err != nil || news || waited != wire.MaxWait {
			t.Errorf("a poll without news ended after %s with %t, %v; want %s", waited, news, err, wire.MaxWait)
		}
		time.AfterFunc(3*time.Second, func() { c.order(func(*vm.List) {}) }) // spurious
		time.AfterFunc(7*time.Second, func() { c.order(func(l *vm.List) { l.Revision++ }) })
		start = time.Now()
		list, news, err := client.Sync(t.Context(), vm.Report{Sequence: 2}, known, time.Hour)
		if waited := time.Since(start); err != nil || !news || list.Revision != 6 || waited != 7*time.Second {
			t.Errorf("a poll ended after %s with revision %d, %t, %v; want revision 6 after 7 s", waited, list.Revision, news, err)
		}
		if len(c.watchers) != 0 {
			t.Errorf("%d subscriptions are left", len(c.watchers))
		}
	})
}

// A change between Observe and the wait must not be missed.
func TestPollSubscribesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newControl(1)
		client := join(t, c, direct{handler: wire.Handler(&hasty{c}, wire.Config{})})
		start := time.Now()
		list, news, err := client.Sync(t.Context(), vm.Report{Sequence: 1}, vm.List{Server: "srv_1", Epoch: 1, Revision: 5}, time.Minute)
		if err != nil || !news || list.Revision != 6 || time.Since(start) != 0 {
			t.Errorf("Sync = revision %d, %t, %v after %s; want 6 at once", list.Revision, news, err, time.Since(start))
		}
	})
}

// hasty changes the list right after it was read.
type hasty struct{ *control }

func (h *hasty) Orders(ctx context.Context, id string) (vm.List, error) {
	l, err := h.control.Orders(ctx, id)
	if l.Revision == 5 {
		h.order(func(l *vm.List) { l.Revision++ })
	}
	return l, err
}

func TestListsThatAreNotFollowed(t *testing.T) {
	t.Parallel()
	known := vm.List{Server: "srv_1", Epoch: 2, Revision: 5}
	for name, tt := range map[string]struct {
		list vm.List
		want error
	}{
		"older epoch":    {vm.List{Server: "srv_1", Epoch: 1, Revision: 9}, wire.ErrOlder},
		"older revision": {vm.List{Server: "srv_1", Epoch: 2, Revision: 4}, wire.ErrOlder},
		"other server":   {vm.List{Server: "srv_2", Epoch: 2, Revision: 9}, wire.ErrForeign},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newControl(1)
			c.list = tt.list
			if _, _, err := join(t, c, direct{}).Sync(t.Context(), vm.Report{Sequence: 1}, known, 0); !errors.Is(err, tt.want) {
				t.Errorf("Sync: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestForgedAnswers(t *testing.T) {
	t.Parallel()
	var old []byte
	var oldSignature string
	for name, tamper := range map[string]func(*http.Response){
		"body": func(r *http.Response) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte(`"revision":5`), []byte(`"revision":6`), 1)))
		},
		"status":       func(r *http.Response) { r.StatusCode = http.StatusConflict },
		"no signature": func(r *http.Response) { r.Header.Del("Cpucloud-Signature") },
		"proxy": func(r *http.Response) {
			r.StatusCode, r.Header, r.Body = http.StatusBadGateway, http.Header{}, io.NopCloser(strings.NewReader("bad gateway"))
		},
		"old answer": func(r *http.Response) {
			if old == nil {
				old, _ = io.ReadAll(r.Body)
				oldSignature = r.Header.Get("Cpucloud-Signature")
			}
			r.Header.Set("Cpucloud-Signature", oldSignature)
			r.Body = io.NopCloser(bytes.NewReader(old))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := join(t, newControl(1), direct{tamper: tamper})
			_, _, err := client.Sync(t.Context(), vm.Report{Sequence: 1}, vm.List{}, 0)
			if name == "old answer" {
				if err != nil {
					t.Fatalf("first Sync: %v", err)
				}
				_, _, err = client.Sync(t.Context(), vm.Report{Sequence: 2}, vm.List{}, 0)
			}
			if !errors.Is(err, wire.ErrForged) {
				t.Errorf("Sync: %v, want %v", err, wire.ErrForged)
			}
		})
	}
	t.Run("other control plane", func(t *testing.T) {
		t.Parallel()
		right, other := newControl(1), newControl(2)
		other.agents["srv_1"] = key(7).Public().(ed25519.PublicKey)
		client := join(t, right, direct{handler: wire.Handler(other, wire.Config{})})
		if _, _, err := client.Sync(t.Context(), vm.Report{Sequence: 1}, vm.List{}, 0); !errors.Is(err, wire.ErrForged) {
			t.Errorf("Sync: %v, want %v", err, wire.ErrForged)
		}
	})
}

func TestForgedRequests(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*http.Request){
		"body":         func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"report":{"sequence":99}}`)) },
		"server":       func(r *http.Request) { r.Header.Set("Cpucloud-Server", "srv_2") },
		"no server":    func(r *http.Request) { r.Header.Del("Cpucloud-Server") },
		"no signature": func(r *http.Request) { r.Header.Del("Cpucloud-Signature") },
		"not base64":   func(r *http.Request) { r.Header.Set("Cpucloud-Signature", "!") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newControl(1)
			var status int
			client := join(t, c, direct{before: before, tamper: func(r *http.Response) { status = r.StatusCode }})
			c.agents["srv_2"] = key(7).Public().(ed25519.PublicKey) // the name alone differs
			if _, _, err := client.Sync(t.Context(), vm.Report{Sequence: 1}, vm.List{}, 0); err == nil {
				t.Error("Sync: no error")
			}
			if status != http.StatusUnauthorized || len(c.reports) != 0 {
				t.Errorf("status %d, %d reports taken in; want 401 and none", status, len(c.reports))
			}
		})
	}
}

// hostKey is a proper key.
const hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"

func TestGarbageReports(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for name, r := range map[string]vm.Report{
		"tries":      {VMs: []vm.Sighting{{ID: "0xA", Phase: vm.Ready, Retry: &vm.Retry{Attempt: -1}}}},
		"of":         {VMs: []vm.Sighting{{ID: "0xA", Phase: vm.Ready, Retry: &vm.Retry{Of: 1_000_001}}}},
		"phase":      {VMs: []vm.Sighting{{ID: "0xA", Phase: "flying"}}},
		"no id":      {VMs: []vm.Sighting{{Phase: vm.Ready}}},
		"twice":      {VMs: []vm.Sighting{{ID: "0xA", Phase: vm.Ready}, {ID: "0xA", Phase: vm.Absent}}},
		"generation": {VMs: []vm.Sighting{{ID: "0xA", Phase: vm.Ready, Generation: -1}}},
		"host key":   {VMs: []vm.Sighting{{ID: "0xA", Phase: vm.Ready, HostKeys: []hostkey.Key{"* ssh-ed25519 AAAA"}}}},
		"host keys":  {VMs: []vm.Sighting{{ID: "0xA", Phase: vm.Ready, HostKeys: []hostkey.Key{hostKey, hostKey}}}},
		"image":      {VMs: []vm.Sighting{{ID: "0xA", Phase: vm.Ready, Image: "sha256:rubbish"}}},
		"steps":      {VMs: []vm.Sighting{{ID: "0xA", Phase: vm.Ready, Steps: make([]vm.Step, vm.MaxSteps+1)}}},
		"text":       {VMs: []vm.Sighting{{ID: "0xA", Phase: vm.Ready, Steps: []vm.Step{{Key: "a", Text: long}}}}},
		"inventory":  {Inventory: capacity.Inventory{Total: capacity.Vector{VCPU: -1}}},
		"brand":      {Inventory: capacity.Inventory{Hardware: capacity.Hardware{CPU: capacity.CPU{Brand: long}}}},
		"many":       {VMs: make([]vm.Sighting, 5000)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newControl(1)
			r.Sequence = 1
			if _, _, err := join(t, c, direct{}).Sync(t.Context(), r, vm.List{}, 0); !fault.Is(err, fault.Invalid) {
				t.Errorf("Sync: %v, want an Invalid fault", err)
			}
			if len(c.reports) != 0 {
				t.Error("the report was taken in")
			}
		})
	}
}

func TestThousandFullReportsFit(t *testing.T) {
	t.Parallel()
	r := vm.Report{Sequence: 1}
	for n := range 1000 {
		s := vm.Sighting{ID: fmt.Sprintf("0x%040d", n), Phase: vm.Ready}
		for i := range vm.MaxSteps {
			s.Steps = append(s.Steps, vm.Step{Key: fmt.Sprintf("ports-%d", i), Text: "ports now open: 22/tcp, 8080/tcp"})
		}
		r.VMs = append(r.VMs, s)
	}
	if _, _, err := join(t, newControl(1), direct{}).Sync(t.Context(), r, vm.List{}, 0); err != nil {
		t.Errorf("Sync of 1,000 VMs: %v", err)
	}
	r.VMs[0].Reason, r.Sequence = strings.Repeat("x", wire.MaxReport), 2
	if _, _, err := join(t, newControl(1), direct{}).Sync(t.Context(), r, vm.List{}, 0); !fault.Is(err, fault.Exhausted) {
		t.Errorf("Sync above the limit: %v, want an Exhausted fault", err)
	}
}

func TestStrictMessages(t *testing.T) {
	t.Parallel()
	h := wire.Handler(newControl(1), wire.Config{})
	for _, body := range []string{``, `{`, `{"token":"t"} {}`, `{"token":"t","extra":1}`, `[]`, strings.Repeat("[", 100000)} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/agent/v1/enroll", strings.NewReader(body)))
		var answer struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); w.Code != http.StatusBadRequest || err != nil || answer.Error == "" {
			t.Errorf("enroll with %.30q: %d %s, want 400 and an error", body, w.Code, w.Body)
		}
	}
}

func TestInternalErrorsStayInside(t *testing.T) {
	t.Parallel()
	c := newControl(1)
	c.failure = errors.New("table vms is locked at /var/lib")
	client := join(t, c, direct{})
	_, _, err := client.Sync(t.Context(), vm.Report{Sequence: 1}, vm.List{}, 0)
	if !fault.Is(err, fault.Internal) || strings.Contains(err.Error(), "table") {
		t.Errorf("Sync: %v, want an Internal fault that tells nothing", err)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	id := wire.Identity{Server: "srv_1", Key: key(1), Control: key(2).Public().(ed25519.PublicKey)}
	for address, good := range map[string]bool{
		"https://control.example": true, "https://control.example/base/": true, "http://127.0.0.1:8080": true,
		"http://localhost:1": true, "http://[::1]:1": true, "http://control.example": false, "http://10.0.0.1": false,
		"ftp://control.example": false, "https://u:p@control.example": false, "": false, "https://": false,
	} {
		if _, err := wire.NewClient(address, id, nil); (err == nil) != good || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("NewClient(%q): %v, want good %t", address, err, good)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	c := newControl(1)
	target := httptest.NewServer(wire.Handler(c, wire.Config{}))
	t.Cleanup(target.Close)
	detour := httptest.NewServer(http.RedirectHandler(target.URL+"/agent/v1/enroll", http.StatusTemporaryRedirect))
	t.Cleanup(detour.Close)
	_, err := wire.Enroll(t.Context(), detour.URL, nil, "tok_1", key(7), capacity.Inventory{})
	if !fault.Is(err, fault.Unavailable) || len(c.agents) != 0 {
		t.Errorf("Enroll over a redirect: %v, agents %v; want an Unavailable fault and none", err, c.agents)
	}
}

// A poll outlives the limits of the server that it is mounted in.
func TestPollOutlivesTheServersLimits(t *testing.T) {
	t.Parallel()
	c := newControl(1)
	server := httptest.NewUnstartedServer(wire.Handler(c, wire.Config{MaxWait: 400 * time.Millisecond}))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	id, err := wire.Enroll(t.Context(), server.URL, nil, "tok_1", key(7), capacity.Inventory{})
	if err != nil {
		t.Fatalf("Enroll: %v", err)
	}
	client, err := wire.NewClient(server.URL, id, nil)
	if err != nil {
		t.Fatalf("NewClient: %v", err)
	}
	known := vm.List{Server: "srv_1", Epoch: 1, Revision: 5}
	if _, news, err := client.Sync(t.Context(), vm.Report{Sequence: 1}, known, time.Second); err != nil || news {
		t.Errorf("Sync = %t, %v; want no news and no error", news, err)
	}
}
