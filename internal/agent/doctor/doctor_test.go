package doctor_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent/doctor"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

// healthy returns a machine that has all that a server needs, and its root.
func healthy(t *testing.T) doctor.Config {
	t.Helper()
	root := t.TempDir()
	c := doctor.Config{
		Dir: t.TempDir(), Root: root, Now: time.Now, Pool: netip.MustParsePrefix("127.78.0.0/16"), Sold: capacity.Vector{RAMGiB: 28},
		Probe: func(context.Context) (hypervisor.Facts, error) {
			return hypervisor.Facts{Version: "7.2", Accelerator: "kvm", Reason: "a guest ran with KVM", Limits: "scopes of systemd 252"}, nil
		},
		Sync:   func() (bool, bool) { return true, true },
		Tool:   func(_ context.Context, name string) (string, error) { return name + " version 7.2.22", nil },
		Fsync:  func(context.Context) (float64, error) { return 0.2, nil },
		Rights: func() bool { return false },
	}
	put(t, root, "proc/meminfo", "MemTotal:       33554432 kB\nMemFree: 1 kB\n")
	put(t, root, "proc/sys/net/ipv4/ip_unprivileged_port_start", "0\n")
	return c
}

func put(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func result(t *testing.T, all []doctor.Result, name string) doctor.Result {
	t.Helper()
	for _, r := range all {
		if r.Name == name {
			return r
		}
	}
	return doctor.Result{}
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	c := healthy(t)
	plane := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(plane.Close)
	c.URL, c.HTTP = plane.URL+"/", plane.Client()
	all := doctor.Examine(t.Context(), c)
	want := []string{
		"qemu-system-x86_64", "qemu-img", "virtualisation", "disk space", "disk latency", "memory", "ports", "address pool",
		"confinement", "limits", "time service", "control plane", "clock",
	}
	if len(all) != len(want) {
		t.Fatalf("%d results, want %d: %+v", len(all), len(want), all)
	}
	for i, r := range all {
		// How full this machine is can't be chosen.
		if r.Name != want[i] || r.Status != doctor.Pass && r.Name != "disk space" || r.Found == "" || r.Status == doctor.Pass && r.Fix != "" {
			t.Errorf("result %+v, want %s to pass", r, want[i])
		}
	}
	if got := result(t, all, "control plane").Found; !strings.Contains(got, "TLS 1.3 verified") {
		t.Errorf("control plane: %s", got)
	}
	if failed := doctor.Failed(all); len(failed) != 0 {
		t.Errorf("failed: %+v", failed)
	}
}

// The checks of a routed network stand in the place of those of the loopback one.
func TestNetworkOfAnotherKind(t *testing.T) {
	t.Parallel()
	c := healthy(t)
	c.Network = func(context.Context) []doctor.Result {
		return []doctor.Result{{Name: "uplink", Status: doctor.Fail, Found: "there is no interface eth9", Fix: "--uplink eth0"}}
	}
	all := doctor.Examine(t.Context(), c)
	if failed := doctor.Failed(all); len(failed) != 1 || failed[0].Name != "uplink" {
		t.Errorf("failed %+v, want the uplink", failed)
	}
	if ports, pool := result(t, all, "ports"), result(t, all, "address pool"); ports.Name != "" || pool.Name != "" {
		t.Errorf("looked at %+v and %+v, which are the loopback network's", ports, pool)
	}
}

func TestSick(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spoil  func(*testing.T, *doctor.Config)
		check  string
		status doctor.Status
		found  string
		fix    string
	}{
		"weak": {func(_ *testing.T, c *doctor.Config) {
			c.Probe = func(context.Context) (hypervisor.Facts, error) { return hypervisor.Facts{Weaker: "no namespaces"}, nil }
		}, "confinement", doctor.Warn, "no namespaces", "as root"},
		"scopes": {func(*testing.T, *doctor.Config) {}, "limits", doctor.Pass, "scopes of systemd 252", ""},
		"no limits": {func(_ *testing.T, c *doctor.Config) {
			c.Probe = func(context.Context) (hypervisor.Facts, error) { return hypervisor.Facts{}, nil }
		}, "limits", doctor.Warn, "nothing holds", "as root"},
		"no qemu": {func(_ *testing.T, c *doctor.Config) {
			c.Tool = func(context.Context, string) (string, error) { return "", exec.ErrNotFound }
		}, "qemu-img", doctor.Fail, "not found", "apt-get install qemu-utils"},
		"no guest runs": {func(_ *testing.T, c *doctor.Config) {
			c.Probe = func(context.Context) (hypervisor.Facts, error) {
				return hypervisor.Facts{}, fault.New(fault.Unavailable, "KVM does not work here")
			}
		}, "virtualisation", doctor.Fail, "KVM does not work here", "firmware"},
		"emulation": {func(_ *testing.T, c *doctor.Config) {
			c.Probe = func(context.Context) (hypervisor.Facts, error) {
				return hypervisor.Facts{Accelerator: "tcg", Reason: "no /dev/kvm"}, nil
			}
		}, "virtualisation", doctor.Warn, "no /dev/kvm", "group kvm"},
		"no folder": {func(_ *testing.T, c *doctor.Config) { c.Dir += "/none" }, "disk space", doctor.Fail, "no such file", "--data"},
		"read only": {func(_ *testing.T, c *doctor.Config) {
			c.Fsync = func(context.Context) (float64, error) { return 0, errors.New("permission denied") }
		}, "disk latency", doctor.Fail, "permission denied", "--data"},
		"slow disk": {func(_ *testing.T, c *doctor.Config) {
			c.Fsync = func(context.Context) (float64, error) { return 20.5, nil }
		}, "disk latency", doctor.Warn, "20.5 ms", "SSD"},
		"more memory sold than there is": {func(_ *testing.T, c *doctor.Config) { c.Sold.RAMGiB = 33 }, "memory", doctor.Fail, "33 are sold", "--ram 31"},
		"all memory sold":                {func(_ *testing.T, c *doctor.Config) { c.Sold.RAMGiB = 32 }, "memory", doctor.Warn, "0.0 stay", "--ram 31"},
		"little memory": {func(t *testing.T, c *doctor.Config) {
			put(t, c.Root, "proc/meminfo", "MemTotal: 1048576 kB\n")
			c.Sold.RAMGiB = 0
		}, "memory", doctor.Warn, "1.0 GiB", "more memory"},
		"closed ports": {func(t *testing.T, c *doctor.Config) {
			put(t, c.Root, "proc/sys/net/ipv4/ip_unprivileged_port_start", "1024\n")
		}, "ports", doctor.Warn, "below 1024", "sysctl -w"},
		"root": {func(t *testing.T, c *doctor.Config) {
			put(t, c.Root, "proc/sys/net/ipv4/ip_unprivileged_port_start", "1024\n")
			c.Rights = func() bool { return true }
		}, "ports", doctor.Pass, "22", ""},
		"no pool":       {func(_ *testing.T, c *doctor.Config) { c.Pool = netip.Prefix{} }, "address pool", doctor.Fail, "no pool", "--pool"},
		"foreign pool":  {func(_ *testing.T, c *doctor.Config) { c.Pool = netip.MustParsePrefix("192.0.2.0/24") }, "address pool", doctor.Fail, "192.0.2.254", "--pool"},
		"clock alone":   {func(_ *testing.T, c *doctor.Config) { c.Sync = func() (bool, bool) { return false, true } }, "time service", doctor.Warn, "clock", "timedatectl"},
		"clock unknown": {func(_ *testing.T, c *doctor.Config) { c.Sync = func() (bool, bool) { return false, false } }, "time service", "", "", ""},
		"plain http":    {func(_ *testing.T, c *doctor.Config) { c.URL = "http://cloud.example.org" }, "control plane", doctor.Fail, "not encrypted", "https"},
		"no URL":        {func(_ *testing.T, c *doctor.Config) { c.URL = "cloud" }, "control plane", doctor.Fail, "no http or https URL", "--server"},
		"nobody there":  {func(_ *testing.T, c *doctor.Config) { c.URL = "http://127.0.0.1:1" }, "control plane", doctor.Fail, "refused", "firewall"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := healthy(t)
			tt.spoil(t, &c)
			r := result(t, doctor.Examine(t.Context(), c), tt.check)
			if r.Status != tt.status || !strings.Contains(r.Found, tt.found) || !strings.Contains(r.Fix, tt.fix) || (r.Fix == "") != (tt.fix == "") {
				t.Errorf("%+v, want %s with %q and the fix %q", r, tt.status, tt.found, tt.fix)
			}
		})
	}
}

// A port that a program has on all addresses is one that no VM gets.
func TestPortIsTaken(t *testing.T) {
	t.Parallel()
	c := healthy(t)
	c.Rights = func() bool { return true }
	c.Pool = netip.MustParsePrefix("127.79.3.0/24")
	taken, err := net.Listen("tcp", "127.79.3.254:22")
	if err != nil { // this user may not, and so can't find it taken
		c.Pool = netip.Prefix{}
	} else {
		t.Cleanup(func() { _ = taken.Close() })
	}
	r := result(t, doctor.Examine(t.Context(), c), "address pool")
	if err == nil && (r.Status != doctor.Warn || !strings.Contains(r.Fix, "ListenAddress")) || r.Status == doctor.Pass {
		t.Errorf("%+v", r)
	}
}

func TestControlPlane(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		change func(*doctor.Config, *httptest.Server)
		check  string
		status doctor.Status
		says   string
	}{
		"another program": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, nil, "control plane", doctor.Fail, "404",
		},
		"no trust": {nil, func(c *doctor.Config, _ *httptest.Server) {
			c.HTTP = &http.Client{Transport: &http.Transport{}}
		}, "control plane", doctor.Fail, "--ca-file"},
		"not encrypted": {nil, func(c *doctor.Config, s *httptest.Server) {
			c.URL = strings.Replace(s.URL, "https", "http", 1)
		}, "control plane", doctor.Fail, "begins with http or https"},
		"clock an hour ahead": {dated(-time.Hour), nil, "clock", doctor.Fail, "1h0m"},
		"clock an hour late":  {dated(time.Hour), nil, "clock", doctor.Fail, "off the control plane"},
		"clock a little off":  {dated(30 * time.Second), nil, "clock", doctor.Pass, "s off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.answer == nil {
				tt.answer = func(http.ResponseWriter, *http.Request) {}
			}
			plane := httptest.NewTLSServer(tt.answer)
			t.Cleanup(plane.Close)
			c := healthy(t)
			c.URL, c.HTTP = plane.URL, plane.Client()
			if tt.change != nil {
				tt.change(&c, plane)
			}
			r := result(t, doctor.Examine(t.Context(), c), tt.check)
			if r.Status != tt.status || !strings.Contains(r.Found+" "+r.Fix, tt.says) {
				t.Errorf("%+v, want %s with %q", r, tt.status, tt.says)
			}
		})
	}
}

// dated answers at another time.
func dated(off time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
	}
}

// An authority of one's own is trusted once it is given.
func TestOwnAuthority(t *testing.T) {
	t.Parallel()
	plane := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(plane.Close)
	roots := x509.NewCertPool()
	roots.AddCert(plane.Certificate())
	c := healthy(t)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	c.URL, c.HTTP = plane.URL, &http.Client{Transport: transport}
	if r := result(t, doctor.Examine(t.Context(), c), "control plane"); r.Status != doctor.Pass {
		t.Errorf("%+v", r)
	}
}

// This very machine: nothing that is asked of it hangs or says nothing.
func TestThisMachine(t *testing.T) {
	t.Parallel()
	c := healthy(t)
	c.Root, c.Sync, c.Tool, c.Fsync, c.Rights = "", nil, nil, nil, nil
	for _, r := range doctor.Examine(t.Context(), c) {
		if r.Found == "" || r.Status != doctor.Pass && r.Fix == "" {
			t.Errorf("%+v", r)
		}
		if fmt.Sprint(r.Status) == "" {
			t.Errorf("%s has no status", r.Name)
		}
	}
}
