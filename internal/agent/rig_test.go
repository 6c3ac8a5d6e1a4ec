package agent_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	hypervisorfake "github.com/cpucloud/cpucloud/internal/hypervisor/fake"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/network"
	networkfake "github.com/cpucloud/cpucloud/internal/network/fake"
	"github.com/cpucloud/cpucloud/internal/usage"
	"github.com/cpucloud/cpucloud/internal/vm"
	"github.com/cpucloud/cpucloud/internal/wire"
)

// control is a control plane with one server, behind the real handler.
type control struct {
	key ed25519.PrivateKey

	mu        sync.Mutex
	agent     ed25519.PublicKey
	list      vm.List
	sequence  int64
	seen      map[string]vm.Sighting
	phases    map[string][]vm.Phase // of each VM, without repetitions
	reports   int
	last      vm.Report
	instances []string // of agents that have reported, in order
	refusal   error    // of every report
	watchers  map[chan struct{}]bool
	passes    map[string]vm.Pass // of exports that something is made of, by id
	errands   []vm.Errand
	away      bool
	stopping  bool // every poll is answered at once

	metered   map[string][]usage.Point // what is known of VMs' metrics
	meterings []usage.Report           // as they came
	unmetered error                    // of every one
}

func newControl() *control {
	return &control{
		key:  ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize)),
		list: vm.List{Server: "srv_1", Epoch: 1, Revision: 1}, seen: map[string]vm.Sighting{},
		phases: map[string][]vm.Phase{}, watchers: map[chan struct{}]bool{}, metered: map[string][]usage.Point{},
	}
}

func (c *control) Enroll(_ context.Context, token string, key ed25519.PublicKey, _ capacity.Inventory) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if token != "tok_1" || c.agent != nil && !c.agent.Equal(key) {
		return "", fault.New(fault.Denied, "this token is not known")
	}
	c.agent = key
	return "srv_1", nil
}

func (c *control) AgentKey(context.Context, string) (ed25519.PublicKey, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.agent, nil
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
	c.reports++
	c.last = r
	if !slices.Contains(c.instances, r.Instance) {
		c.instances = append(c.instances, r.Instance)
	}
	c.seen = map[string]vm.Sighting{}
	for _, s := range r.VMs {
		c.seen[s.ID] = s
		if p := c.phases[s.ID]; len(p) == 0 || p[len(p)-1] != s.Phase {
			c.phases[s.ID] = append(p, s.Phase)
		}
	}
	return nil
}

func (c *control) Meter(_ context.Context, _ string, r usage.Report) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unmetered != nil {
		return c.unmetered
	}
	c.meterings = append(c.meterings, r)
	for _, v := range r.VMs {
		c.metered[v.ID] = usage.Merge(c.metered[v.ID], v.Points)
	}
	return nil
}

func (c *control) Orders(context.Context, string) (vm.List, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.list
	l.Orders = slices.Clone(l.Orders)
	return l, nil
}

func (c *control) Changes(string) (<-chan struct{}, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan struct{}, 1)
	if c.stopping {
		close(ch)
		return ch, func() {}
	}
	c.watchers[ch] = true
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, ch)
	}
}

func (c *control) Sign(message []byte) []byte { return ed25519.Sign(c.key, message) }

func (c *control) ControlKey() ed25519.PublicKey { return c.key.Public().(ed25519.PublicKey) }

// change changes the list and wakes the agent.
func (c *control) change(f func(*vm.List)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.list)
	c.list.Revision++
	for ch := range c.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// order puts o into the list, in the place of an older one for the same VM.
func (c *control) order(o vm.Order) {
	c.change(func(l *vm.List) {
		l.Orders = append(slices.DeleteFunc(l.Orders, func(old vm.Order) bool { return old.ID == o.ID }), o)
	})
}

func (c *control) sighting(id string) vm.Sighting {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[id]
}

func (c *control) story(id string) string {
	var lines []string
	for _, s := range c.sighting(id).Steps {
		lines = append(lines, s.Key+": "+s.Text)
	}
	return strings.Join(lines, "\n")
}

// history returns the phases that a VM was seen in.
func (c *control) history(id string) []vm.Phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.phases[id])
}

// count returns how many reports came.
func (c *control) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reports
}

// told returns how many VMs the last report was about.
func (c *control) told() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

// inventory returns what was last told of the server.
func (c *control) inventory() capacity.Inventory {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last.Inventory
}

// names returns what the starts of agents that have reported are called.
func (c *control) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.instances)
}

func (c *control) refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal = err
}

func (c *control) setAway(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
}

// RoundTrip lets the control plane be reached without a network, so that
// clocks can be faked.
func (c *control) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	away := c.away
	c.mu.Unlock()
	if away {
		return nil, errors.New("no route to host")
	}
	w := httptest.NewRecorder()
	wire.Handler(c, wire.Config{Meters: c, Exports: c}).ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// disks makes disks that are small files, each with a content of its own.
type disks struct {
	dir       string
	fetchTime time.Duration
	clones    bool
	cloning   error // what becomes of it

	mu      sync.Mutex
	failure error         // of Fetch
	request image.Request // the last one
	full    bool
	fetches int
	made    int
	prunes  int
	kept    bool // whether the image was in use when it was last pruned
}

func (d *disks) Get(ctx context.Context, r image.Request) (image.Base, error) {
	d.mu.Lock()
	d.fetches++
	d.request = r
	err := d.failure
	d.mu.Unlock()
	if err != nil {
		return image.Base{}, err
	}
	const total = 600 << 20
	for part := range int64(10) {
		r.Progress(image.Progress{Step: image.Download, Done: part * total / 10, Total: total})
		if err := pause(ctx, d.fetchTime/10); err != nil {
			return image.Base{}, err
		}
	}
	base := image.Base{Path: d.dir + "/base.raw", Format: "raw", Digest: "abc", Checksum: checksum}
	return base, os.WriteFile(base.Path, []byte(r.URL), 0o600)
}

func (d *disks) Clone(ctx context.Context, base image.Base, path string, size int64) error {
	if d.cloning != nil {
		return d.cloning
	}
	return d.Overlay(ctx, base, path, size)
}

func (d *disks) Clones(string) bool { return d.clones }

func (d *disks) Overlay(ctx context.Context, _ image.Base, path string, size int64) error {
	if _, err := os.Stat(path); err == nil {
		return errors.New("there is a disk already")
	}
	if err := pause(ctx, 20*time.Millisecond); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made++
	return os.WriteFile(path, fmt.Appendf(nil, "disk %d of %d bytes", d.made, size), 0o600)
}

// checksum is that of every image.
var checksum = "sha256:" + strings.Repeat("0d", 32)

// asked returns what was last asked for.
func (d *disks) asked() image.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.request
}

func (d *disks) Whole(f io.ReaderAt) (int64, error) {
	if _, err := f.ReadAt(make([]byte, 1), 0); err != nil { // those of the rig have no format
		return 0, fault.New(fault.Invalid, "no disk")
	}
	return 1 << 30, nil
}

func (d *disks) Full() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

func (d *disks) Prune(inUse func(string) bool) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prunes++
	d.kept = inUse("abc")
	return 0, nil
}

// pruned returns how often images were pruned, and whether the image was in use
// the last time.
func (d *disks) pruned() (times int, kept bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.prunes, d.kept
}

func (d *disks) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure = err
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rig is a server, its control plane, and the agent between them.
type rig struct {
	*testing.T
	*control
	dir    string
	host   *hypervisorfake.Host
	net    *networkfake.Host
	disks  *disks
	log    *logged // nil for a rig that nobody listens to
	config agent.Config

	mu   sync.Mutex
	mute map[string]bool // addresses of VMs that never answer

	stop func()
	kill context.CancelFunc // ends the agent without waiting for it
}

// bootTime is how long the machines of a rig take until they answer.
const bootTime = 6 * time.Second

// newRig returns a rig whose agent has joined and does not run yet. It is for
// bubbles of synctest only.
func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{
		T: t, control: newControl(), dir: dir, host: hypervisorfake.NewHost(time.Now), net: networkfake.NewHost(),
		disks: &disks{dir: dir, fetchTime: 2 * time.Second}, mute: map[string]bool{},
	}
	r.config = agent.Config{
		Dir: dir, URL: "https://control.test", HTTP: &http.Client{Transport: r.control},
		Hypervisor: hypervisorfake.New(r.host), Network: networkfake.New(r.net), Disks: r.disks,
		Inventory: capacity.Inventory{Total: capacity.Vector{VCPU: 8}}, Log: slog.New(slog.DiscardHandler),
		Now: time.Now, Rand: rand.Reader, Probe: r.probe,
	}
	_, err := agent.Enroll(t.Context(), agent.Enrollment{
		Dir: dir, URL: r.config.URL, HTTP: r.config.HTTP, Token: "tok_1", Inventory: r.config.Inventory, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatalf("Enroll: %v", err)
	}
	return r
}

// newHost puts the rig's folder on a host that knows nothing.
func (r *rig) newHost() {
	r.Helper()
	if err := r.net.Crash(); err != nil {
		r.Fatal(err)
	}
	r.host, r.net = hypervisorfake.NewHost(time.Now), networkfake.NewHost()
	r.config.Hypervisor, r.config.Network = hypervisorfake.New(r.host), networkfake.New(r.net)
}

// probe answers for the VM at address when its machine has run long enough.
func (r *rig) probe(ctx context.Context, address netip.AddrPort) error {
	r.mu.Lock()
	mute := r.mute[address.Addr().String()]
	r.mu.Unlock()
	links, _ := networkfake.New(r.net).List(ctx)
	machines, _ := hypervisorfake.New(r.host).List(ctx)
	for _, l := range links {
		for _, m := range machines {
			if !mute && l.Address == address.Addr() && m.ID == l.ID && m.State == hypervisor.Running && time.Since(m.Started) >= bootTime {
				return nil
			}
		}
	}
	return errors.New("connection refused")
}

// start runs the agent until halt.
func (r *rig) start() {
	r.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.New(r.config).Run(ctx) }()
	r.kill = cancel
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.Errorf("Run: %v", err)
		}
	}
}

func (r *rig) halt() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// sighting returns what was last reported of a VM.
func (r *rig) sighting(id string) vm.Sighting {
	r.control.mu.Lock()
	defer r.control.mu.Unlock()
	return r.seen[id]
}

// until waits until cond holds, at most d.
func (r *rig) until(d time.Duration, what string, cond func() bool) {
	r.Helper()
	for deadline := time.Now().Add(d); !cond(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.control.mu.Lock()
			defer r.control.mu.Unlock()
			r.Fatalf("after %s not yet: %s; last seen %+v, phases %v", d, what, r.seen, r.phases)
		}
	}
}

func (r *rig) reaches(id string, generation int64, p vm.Phase) {
	r.Helper()
	r.until(2*time.Minute, fmt.Sprintf("%s %s at generation %d", id, p, generation), func() bool {
		s := r.sighting(id)
		return s.Phase == p && s.Generation == generation
	})
}

// starts returns which start of the host's the machine of id is, 0 for none.
func (r *rig) starts(id string) int {
	_, n := r.host.Machine(id)
	return n
}

func (r *rig) links() []network.Link {
	links, err := networkfake.New(r.net).List(context.Background())
	if err != nil {
		r.Fatalf("list links: %v", err)
	}
	return links
}

// folders returns the VMs that have files.
func (r *rig) folders() []string {
	entries, err := os.ReadDir(r.dir + "/agent/vms")
	if err != nil {
		r.Fatalf("list folders: %v", err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// disksOf returns what is on each disk of a VM, by the name of its file.
func (r *rig) disksOf(id string) map[string]string {
	r.Helper()
	files, err := filepath.Glob(r.dir + "/agent/vms/" + id + "/disk*")
	if err != nil {
		r.Fatal(err)
	}
	found := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // it was just purged
			r.Fatalf("read disk: %v", err)
		}
		found[filepath.Base(file)] = string(text)
	}
	return found
}

// disk returns what is on a VM's disk.
func (r *rig) disk(id string) string {
	var all string
	for _, name := range []string{"disk.qcow2", "disk.raw"} { // of which there is one
		text, err := os.ReadFile(r.dir + "/agent/vms/" + id + "/" + name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			r.Fatalf("read disk: %v", err)
		}
		all += string(text)
	}
	return all
}
