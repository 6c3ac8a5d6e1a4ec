package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/agent/doctor"
	"github.com/cpucloud/cpucloud/internal/agent/service"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/server"
)

// plane starts a control plane with TLS and returns it with the file of its
// certificate.
func plane(t *testing.T) (s *server.Server, caFile string) {
	t.Helper()
	dir := t.TempDir()
	lent := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate, which is for 127.0.0.1
	pair := lent.TLS.Certificates[0]
	lent.Close()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err = server.Start(t.Context(), server.Config{
		Listen: "127.0.0.1:0", Database: filepath.Join(dir, "cloud.db"), TLSCert: certFile, TLSKey: keyFile,
		Epoch: 24 * time.Hour, Retention: time.Hour, Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s, certFile
}

func invite(t *testing.T, s *server.Server) string {
	t.Helper()
	token, err := s.Control.Invite(t.Context(), control.System, control.Invitation{
		Provider: "acme", Datacenter: market.Datacenter{Country: "DE", City: "BER", Index: 1, Tier: 1},
		Prices: market.Prices{VCPU: money.USDC, RAM: money.USDC, Storage: money.USDC, Address: money.USDC}, Valid: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// box is a machine on which nothing is started.
type box struct {
	machine
	root string
	ran  []string
}

func newBox(t *testing.T, results ...doctor.Result) *box {
	t.Helper()
	b := &box{root: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(b.root, "run/systemd/system"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.machine = machine{
		service: service.Manager{Root: b.root, Run: func(_ context.Context, name string, args ...string) error {
			b.ran = append(b.ran, name+" "+strings.Join(args, " "))
			return nil
		}},
		inspect: func(context.Context, *host) (capacity.Inventory, hypervisor.Facts, error) {
			return capacity.Inventory{
				Hardware: capacity.Hardware{
					CPU:    capacity.CPU{Manufacturer: "AMD", Brand: "EPYC", Architecture: "Zen", Generation: "4"},
					Memory: capacity.Memory{Type: "DDR", Generation: "5"}, Storage: capacity.Storage{Type: "NVMe"},
				},
				Total: capacity.Vector{VCPU: 8, RAMGiB: 16, StorageGiB: 100, Addresses: 100}, VCPUPerThread: 1,
				Pool: netip.MustParsePrefix("127.77.0.0/24"), Hypervisor: "memory", Accelerator: "kvm",
			}, hypervisor.Facts{Version: "7.2", Accelerator: "kvm", Reason: "a guest ran with KVM"}, nil
		},
		examine: func(context.Context, doctor.Config) []doctor.Result { return results },
	}
	return b
}

// run runs a command of the agent.
func (b *box) run(t *testing.T, env map[string]string, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	io := cli.IO{
		In: strings.NewReader(stdin), Out: &out, Err: &errs, Env: func(name string) string { return env[name] }, Now: time.Now, Rand: rand.Reader,
	}
	root := cli.New(io, newAgentCommand(io, b.machine))
	root.SetArgs(append([]string{"agent"}, args...))
	return cli.Execute(t.Context(), root, io), out.String(), errs.String()
}

func (b *box) unit(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.root, "etc/systemd/system/cpucloud-agent.service"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestJoinOverTLS(t *testing.T) {
	t.Parallel()
	s, ca := plane(t)
	b, dir, token := newBox(t), filepath.Join(t.TempDir(), "my data"), invite(t, s)
	code, _, said := b.run(t, nil, token+"\n", "join", "--server", s.URL, "--ca-file", ca, "--token", "-", "--data", dir,
		"--vcpu", "4", "--mirror", "https://a/=https://b/", "--mirror", "https://c/=https://d/", "--cpu-brand", "EPYC 9354P")
	if code != 0 || !strings.Contains(said, "has joined "+s.URL) || !strings.Contains(said, "journalctl -u cpucloud-agent -f") {
		t.Fatalf("join: code %d, %s", code, said)
	}
	if id, err := agent.Joined(dir); id == "" || err != nil {
		t.Errorf("the folder has not joined: %q, %v", id, err)
	}
	unit := b.unit(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := "ExecStart=" + self + ` agent run "--data=` + dir + `" --url=` + s.URL + " --ca-file=" + ca +
		` "--cpu-brand=EPYC 9354P" --mirror=https://a/=https://b/ --mirror=https://c/=https://d/ --vcpu=4` + "\n"
	if !strings.Contains(unit, want) {
		t.Errorf("unit:\n%s\nwant in it:\n%s", unit, want)
	}
	if strings.Contains(unit, token) {
		t.Error("the token is in the unit")
	}
	if want := []string{"systemctl daemon-reload", "systemctl enable --now cpucloud-agent.service"}; !slices.Equal(b.ran, want) {
		t.Errorf("ran %q, want %q", b.ran, want)
	}

	code, _, said = b.run(t, nil, "", "join", "--url", s.URL, "--ca-file", ca, "--data", dir)
	if code != 0 || !strings.Contains(said, "has joined before") || strings.Contains(b.unit(t), "--vcpu") {
		t.Errorf("join again: code %d, %s\n%s", code, said, b.unit(t))
	}
}

// A machine that can't be a server keeps its token for later.
func TestJoinChecksFirst(t *testing.T) {
	t.Parallel()
	s, ca := plane(t)
	dir, token := t.TempDir(), invite(t, s)
	env := map[string]string{"CPUCLOUD_JOIN_TOKEN": token}
	sick := newBox(t, doctor.Result{Name: "qemu-img", Status: doctor.Fail, Found: "not found", Fix: "apt-get install qemu-utils"},
		doctor.Result{Name: "cgroups", Status: doctor.Warn, Found: "none", Fix: "mount them"})
	code, _, said := sick.run(t, env, "", "join", "--server", s.URL, "--ca-file", ca, "--data", dir)
	if code == 0 || !strings.Contains(said, "qemu-img: not found\n  → apt-get install qemu-utils\n") || strings.Contains(said, "mount them") {
		t.Errorf("join of a machine without QEMU: code %d, %s", code, said)
	}
	if id, err := agent.Joined(dir); id != "" || err != nil || len(sick.ran) != 0 {
		t.Errorf("joined %q, %v, and ran %v", id, err, sick.ran)
	}
	if code, _, said := newBox(t).run(t, env, "", "join", "--server", s.URL, "--ca-file", ca, "--data", dir); code != 0 {
		t.Errorf("join of the mended machine: code %d, %s", code, said)
	}
}

func TestJoinIsRefused(t *testing.T) {
	t.Parallel()
	s, ca := plane(t)
	token := invite(t, s)
	plain := strings.Replace(s.URL, "https", "http", 1)
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"no token":         {[]string{"--server", s.URL, "--ca-file", ca}, "`cpucloud provider token`"},
		"unknown token":    {[]string{"--server", s.URL, "--ca-file", ca, "--token", "join_x"}, "the join token is refused"},
		"two tokens":       {[]string{"--server", s.URL, "--token", "x", "--token-file", ca}, "give the join token once"},
		"two words":        {[]string{"--server", s.URL, "--token", "Your token: x"}, "one word"},
		"no such file":     {[]string{"--server", s.URL, "--token-file", "/nowhere"}, "no such file"},
		"no trust":         {[]string{"--server", s.URL, "--token", token}, "certificate"},
		"plain http":       {[]string{"--server", plain, "--token", token}, ""},
		"no certificate":   {[]string{"--server", s.URL, "--token", token, "--ca-file", "agent_test.go"}, "PEM"},
		"no such verb":     {[]string{"x"}, "unknown command"},
		"strange benches":  {[]string{"--server", s.URL, "--ca-file", ca, "--token", token, "--benchmark", "often"}, "auto, asked or off"},
		"pool of no sense": {[]string{"--server", s.URL, "--ca-file", ca, "--token", token, "--pool", "x"}, "--pool"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, dir := newBox(t), t.TempDir()
			code, _, said := b.run(t, nil, "", append([]string{"join", "--data", dir}, tt.args...)...)
			if code == 0 || !strings.Contains(said, tt.says) || strings.Contains(said, "API key") {
				t.Errorf("code %d, %s; want %q", code, said, tt.says)
			}
			if id, err := agent.Joined(dir); id != "" || err != nil || len(b.ran) != 0 {
				t.Errorf("joined %q, %v, and ran %v", id, err, b.ran)
			}
		})
	}
}

func TestDoctorCommand(t *testing.T) {
	t.Parallel()
	results := []doctor.Result{
		{Name: "virtualisation", Status: doctor.Pass, Found: "KVM"},
		{Name: "ports", Status: doctor.Warn, Found: "closed", Fix: "open them"},
		{Name: "qemu-img", Status: doctor.Fail, Found: "\x1b[31mnot found", Fix: "install it"},
	}
	for format, want := range map[string]string{
		"table": "PASS  virtualisation      KVM\nWARN  ports               closed\n                          → open them\nFAIL  qemu-img            �[31mnot found\n                          → install it\n",
		"json":  `"fix": "install it"`,
		"yaml":  `fix: "install it"`,
	} {
		code, out, said := newBox(t, results...).run(t, nil, "", "doctor", "--data", t.TempDir(), "-o", format)
		if code != 1 || !strings.Contains(out, want) || said != "" {
			t.Errorf("-o %s: code %d, said %q:\n%s\nwant\n%s", format, code, said, out, want)
		}
	}
	if code, _, said := newBox(t, results[:2]...).run(t, nil, "", "doctor", "--data", t.TempDir()); code != 0 {
		t.Errorf("without a failure: code %d, %s", code, said)
	}
}

// Only what was asked for is looked at.
func TestDoctorLooksAtTheServerThatIsGiven(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, ""}, {[]string{"--server", "https://a.example"}, "https://a.example"}, {[]string{"--url", "https://b.example"}, "https://b.example"},
	} {
		b, got := newBox(t), "nothing"
		b.examine = func(_ context.Context, c doctor.Config) []doctor.Result { got = c.URL; return nil }
		if code, _, said := b.run(t, nil, "", append([]string{"doctor", "--data", t.TempDir()}, tt.args...)...); code != 0 || got != tt.want {
			t.Errorf("%v: code %d, %s: %q was looked at, want %q", tt.args, code, said, got, tt.want)
		}
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	m := capacity.Measured{CPUSingle: 1012.5, DiskFsync: 0.147, Note: "network: no route"}
	rows := figures(m).Rows
	for _, want := range [][]string{
		{"CPU, one thread", "1012.5"}, {"Disk, durable write", "0.147 ms"}, {"Control plane", "not measured"}, {"Note", "network: no route"},
	} {
		if !slices.ContainsFunc(rows, func(r []string) bool { return slices.Equal(r, want) }) {
			t.Errorf("%q is not among %q", want, rows)
		}
	}
}

// A share of the memory is for the host; only a cloud to try out sells more than
// there is.
func TestMoreMemoryThanThereIs(t *testing.T) {
	t.Parallel()
	flags := hostFlags{total: capacity.Vector{RAMGiB: 1 << 20}, accelerator: "tcg"}
	for _, allowed := range []bool{false, true} {
		flags.anyRAM = allowed
		h, err := lookAtHost(t.Context(), t.TempDir(), flags, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		inv, _, err := h.inventory(t.Context())
		if allowed && (err != nil || inv.Total.RAMGiB != 1<<20) || !allowed && !fault.Is(err, fault.Invalid) {
			t.Errorf("allowed %t: %v, %v", allowed, inv.Total, err)
		}
	}
}
