package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"flag"
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

	"github.com/cpucloud/cpucloud/internal/agent/doctor"
	"github.com/cpucloud/cpucloud/internal/agent/service"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/vm"
	"github.com/cpucloud/cpucloud/internal/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// marketplace is a control plane that one server may join with the token join_good.
type marketplace struct {
	key ed25519.PrivateKey

	mu       sync.Mutex
	agent    ed25519.PublicKey
	joined   []capacity.Inventory
	reported chan struct{} // closed by the first report
	once     sync.Once
}

func newMarketplace() *marketplace {
	return &marketplace{key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), reported: make(chan struct{})}
}

func (m *marketplace) Enroll(_ context.Context, token string, key ed25519.PublicKey, inv capacity.Inventory) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if token != "join_good" || m.agent != nil {
		return "", fault.New(fault.Denied, "this join token is not good; ask for a new one")
	}
	m.agent, m.joined = key, append(m.joined, inv)
	return "srv_1", nil
}

func (m *marketplace) AgentKey(context.Context, string) (ed25519.PublicKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.agent, nil
}

func (m *marketplace) Observe(context.Context, string, vm.Report) error {
	m.once.Do(func() { close(m.reported) })
	return nil
}

func (m *marketplace) Orders(context.Context, string) (vm.List, error) {
	return vm.List{Server: "srv_1", Epoch: 1, Revision: 1}, nil
}

func (m *marketplace) Changes(string) (<-chan struct{}, func()) {
	return make(chan struct{}), func() {}
}

func (m *marketplace) Sign(message []byte) []byte { return ed25519.Sign(m.key, message) }

func (m *marketplace) ControlKey() ed25519.PublicKey { return m.key.Public().(ed25519.PublicKey) }

// enrolled returns how many servers have joined.
func (m *marketplace) enrolled() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.joined)
}

// bench is a machine on which commands are run.
type bench struct {
	*testing.T
	*marketplace
	url     string
	data    string
	machine machine
	in      string
	env     map[string]string
	ran     []string // by systemd's manager
}

// newBench returns a machine of root's where systemd runs.
func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, marketplace: newMarketplace(), data: filepath.Join(t.TempDir(), "data"), env: map[string]string{}}
	s := httptest.NewServer(wire.Handler(b.marketplace, wire.Config{}))
	t.Cleanup(s.Close)
	b.url = s.URL
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.machine = machine{
		service: service.Manager{Root: root, Run: func(_ context.Context, name string, args ...string) error {
			b.ran = append(b.ran, name+" "+strings.Join(args, " "))
			return nil
		}},
		inspect: func(_ context.Context, h *host) (capacity.Inventory, hypervisor.Facts, error) {
			return capacity.Inventory{Total: h.flags.total, Pool: netip.MustParsePrefix("127.77.0.0/16")},
				hypervisor.Facts{Version: "9.1", Accelerator: "kvm", Reason: "a guest ran"}, nil
		},
		examine: func(context.Context, doctor.Config) []doctor.Result { return nil },
	}
	return b
}

// run runs `cpucloud agent …` and returns the exit code and all that was said.
func (b *bench) run(ctx context.Context, args ...string) (code int, said string) {
	b.Helper()
	var out bytes.Buffer
	io := cli.IO{
		In: strings.NewReader(b.in), Out: &out, Err: &out, Env: func(name string) string { return b.env[name] }, Now: time.Now, Rand: rand.Reader,
	}
	root := cli.New(io, newAgentCommand(io, b.machine)) //nolint:contextcheck // commands are given theirs by Execute
	root.SetArgs(append([]string{"agent"}, args...))
	code = cli.Execute(ctx, root, io)
	return code, out.String()
}

// join is `cpucloud agent join` with the address and the folder of the bench.
func (b *bench) join(args ...string) (code int, said string) {
	b.Helper()
	return b.joinUntil(b.Context(), args...)
}

// joinUntil is join that is told to stop when ctx is done.
func (b *bench) joinUntil(ctx context.Context, args ...string) (code int, said string) {
	b.Helper()
	return b.run(ctx, append([]string{"join", "--server", b.url, "--data", b.data}, args...)...)
}

func (b *bench) unit() string {
	text, err := os.ReadFile(filepath.Join(b.machine.service.Root, "etc/systemd/system/cpucloud-agent.service"))
	if err != nil && !os.IsNotExist(err) {
		b.Fatal(err)
	}
	return string(text)
}

func (b *bench) file(text string) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

func TestUnitOfAJoin(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	code, said := b.join("--token-file", b.file("join_good\n"), "--ram", "8", "-v", "--cpu-brand", `EPYC "Rome" 100%`,
		"--mirror", "https://a.example/=https://b.example/", "--mirror", "https://c.example/=https://d.example/")
	if code != 0 || b.enrolled() != 1 || b.joined[0].Total.RAMGiB != 8 {
		t.Fatalf("exit code %d, joined with %+v:\n%s", code, b.joined, said)
	}
	for _, want := range []string{"as server srv_1", "journalctl -u cpucloud-agent -f", "systemctl status cpucloud-agent"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said in:\n%s", want, said)
		}
	}
	if want := []string{"systemctl daemon-reload", "systemctl enable --now cpucloud-agent.service"}; !slices.Equal(b.ran, want) {
		t.Errorf("ran %q, want %q", b.ran, want)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.NewReplacer(self, "/usr/local/bin/cpucloud", b.data, "/var/lib/cpucloud", b.url, "https://cloud.example.org").Replace(b.unit())
	golden := filepath.Join("testdata", "cpucloud-agent.service")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("unit:\n%s\nwant (%v; run with -update to take it):\n%s", got, err, want)
	}
	f, err := openFolder(b.data)
	if err != nil {
		t.Fatalf("the folder is not free for the service: %v", err)
	}
	_ = f.Close()
}

// The second join needs no token, works beside the agent that the first has
// started, and changes how it is run.
func TestJoinAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.env["CPUCLOUD_JOIN_TOKEN"] = "join_good"
	if code, said := b.join(); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, said)
	}
	running, err := openFolder(b.data)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close() //nolint:errcheck // only a lock is let go
	delete(b.env, "CPUCLOUD_JOIN_TOKEN")
	before := b.unit()
	b.ran = nil
	code, said := b.join()
	if code != 0 || !strings.Contains(said, "joined before, as server srv_1") || b.enrolled() != 1 {
		t.Errorf("exit code %d, %d enrolled:\n%s", code, b.enrolled(), said)
	}
	if b.unit() != before || slices.Contains(b.ran, "systemctl restart cpucloud-agent.service") {
		t.Errorf("nothing changed, and yet ran %q with\n%s", b.ran, b.unit())
	}
	if code, said := b.join("--vcpu-per-thread", "2"); code != 0 || !strings.Contains(b.unit(), "--vcpu-per-thread=2") {
		t.Errorf("exit code %d:\n%s\n%s", code, said, b.unit())
	}
	if !slices.Contains(b.ran, "systemctl restart cpucloud-agent.service") {
		t.Errorf("ran %q, want the agent started again with its new flags", b.ran)
	}
}

func TestWaysToGiveAToken(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args []string // FILE stands for a file with the good token
		in   string
		env  string
		want string // in what is said; "" is a success
	}{
		"argument":       {args: []string{"--token", "join_good"}},
		"standard input": {args: []string{"--token", "-"}, in: "join_good\n"},
		"file":           {args: []string{"--token-file", "FILE"}},
		"file, as ever":  {args: []string{"--join-token-file", "FILE"}},
		"environment":    {env: "join_good"},
		"file first":     {args: []string{"--token-file", "FILE"}, env: "join_bad"},
		"none":           {want: "cpucloud provider token"},
		"empty input":    {args: []string{"--token", "-"}, env: "join_good", want: "give a join token"},
		"both":           {args: []string{"--token", "join_good", "--token-file", "FILE"}, want: "once"},
		"no file":        {args: []string{"--token-file", "/nonexistent"}, want: "no such file"},
		"with text":      {args: []string{"--token", "-"}, in: "the token: join_good", want: "one word"},
		"not good":       {args: []string{"--token", "join_bad"}, want: "not good"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.in, b.env["CPUCLOUD_JOIN_TOKEN"] = tt.in, tt.env
			for i, a := range tt.args {
				if a == "FILE" {
					tt.args[i] = b.file(" join_good\n")
				}
			}
			code, said := b.join(tt.args...)
			if good := tt.want == ""; good != (code == 0) || good != (b.enrolled() == 1) || !strings.Contains(said, tt.want) {
				t.Errorf("exit code %d, %d enrolled, want %q in:\n%s", code, b.enrolled(), tt.want, said)
			}
			if made := b.unit() != ""; made != (code == 0) {
				t.Errorf("a service was made: %t", made)
			}
			if strings.Contains(b.unit(), "join_") {
				t.Errorf("the token is in the unit:\n%s", b.unit())
			}
		})
	}
}

// Without systemd, or when it is asked for, the agent runs until it is stopped.
func TestJoinInTheForeground(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*bench)
		args   []string
		want   string
	}{
		"a container":  {func(b *bench) { b.machine.service.Root = b.TempDir() }, nil, "systemd does not run here"},
		"a user":       {func(b *bench) { b.machine.service.User = 1000 }, nil, "only root may add a service"},
		"when told to": {func(*bench) {}, []string{"--foreground"}, "Ctrl-C stops it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			tt.change(b)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			go func() {
				select {
				case <-b.reported:
				case <-ctx.Done():
				}
				cancel()
			}()
			code, said := b.joinUntil(ctx, append(tt.args, "--token", "join_good", "--benchmark", "off")...)
			if code != 0 || !strings.Contains(said, tt.want) || len(b.ran) > 0 || b.unit() != "" {
				t.Errorf("exit code %d, ran %q, unit %q, want %q in:\n%s", code, b.ran, b.unit(), tt.want, said)
			}
			select {
			case <-b.reported:
			default:
				t.Error("the agent has not reported")
			}
		})
	}
}

// --server and --url are one flag, on every command of the agent.
func TestServerAndURL(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	cmd := newAgentCommand(cli.IO{Env: func(string) string { return "" }}, b.machine)
	for _, c := range append(cmd.Commands(), cmd) {
		if c.HasSubCommands() && c != cmd {
			continue
		}
		for _, name := range []string{"server", "url"} {
			if err := c.Flags().Set(name, "https://"+name); err != nil {
				t.Errorf("%s: %v", c.Name(), err)
			}
			for _, other := range []string{"server", "url"} {
				if got := c.Flags().Lookup(other).Value.String(); got != "https://"+name {
					t.Errorf("%s --%s: --%s is %q", c.Name(), name, other, got)
				}
			}
		}
	}
	if code, said := b.run(t.Context(), "join", "--url", b.url, "--data", b.data, "--token", "join_good"); code != 0 {
		t.Errorf("join --url: exit code %d:\n%s", code, said)
	}
}

// An address that is not there is said so, and nothing is left that would keep
// a second try from working.
func TestControlPlaneAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	url := b.url
	b.url = away.URL
	if code, said := b.join("--token", "join_good"); code != session.CodeUnavailable || b.unit() != "" {
		t.Errorf("exit code %d:\n%s", code, said)
	}
	b.url = url
	if code, said := b.join("--token", "join_good"); code != 0 {
		t.Errorf("the second try: exit code %d:\n%s", code, said)
	}
}
