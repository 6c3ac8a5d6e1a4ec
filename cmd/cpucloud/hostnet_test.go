package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
)

func TestBandwidthFlag(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"": 0, "0": 0, "800kbit": 800_000, "200mbit": 200_000_000, "10Gbit": 10_000_000_000} {
		if got, err := bitsPerSecond(text); err != nil || got != want {
			t.Errorf("%q is %d bits a second, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"200", "mbit", "-1mbit", "0mbit", "1.5gbit", "99999999999gbit", "200 mbit", "200mbps"} {
		if got, err := bitsPerSecond(text); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "--bandwidth") {
			t.Errorf("%q is %d bits a second, %v; want a fault that names the flag", text, got, err)
		}
	}
}

// A mistake in a flag names the flag.
func TestNetworkFlagMistakes(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	good := networkFlags{Kind: networkRouted, Uplink: "up0", Pool: "198.51.100.64/27", Pool6: "2001:db8:1::/64", Announce: "route", Bandwidth: "1gbit"}
	if _, err := good.open(t.TempDir(), log); err != nil {
		t.Errorf("good flags: %v", err)
	}
	for names, change := range map[string]func(*networkFlags){
		"--network":                 func(n *networkFlags) { n.Kind = "bridge" },
		"--pool":                    func(n *networkFlags) { n.Pool = "" },
		"--pool: ":                  func(n *networkFlags) { n.Pool = "198.51.100.64" },
		"--pool6: ":                 func(n *networkFlags) { n.Pool6 = "2001:db8::1" },
		"--allow-net: ":             func(n *networkFlags) { n.Allow = []string{"10.0.0.1"} },
		"--dns: ":                   func(n *networkFlags) { n.DNS = []string{"dns.example"} },
		"--bandwidth: ":             func(n *networkFlags) { n.Bandwidth = "fast" },
		"announced by":              func(n *networkFlags) { n.Announce = "bgp" },
		"not an IPv4 prefix of /30": func(n *networkFlags) { n.Pool = "198.51.100.64/31" },
		"name of an interface":      func(n *networkFlags) { n.Uplink = "an-interface-with-a-long-name" },
	} {
		n := good
		change(&n)
		if _, err := n.open(t.TempDir(), log); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), names) {
			t.Errorf("got %v, want a fault that says %q", err, names)
		}
	}
	if _, err := (&networkFlags{Allow: []string{"ten"}}).open(t.TempDir(), log); !fault.Is(err, fault.Invalid) {
		t.Errorf("loopback with a bad --allow-net: %v", err)
	}
}

// Commands without flags of their own find the network that the agent was started with.
func TestNetworkFlagsAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var nothing networkFlags
	if err := nothing.recall(dir); err != nil || !reflect.DeepEqual(nothing, networkFlags{}) {
		t.Errorf("before any agent: %+v, %v", nothing, err)
	}
	given := networkFlags{Kind: networkRouted, Uplink: "up0", Pool: "198.51.100.64/27", Allow: []string{"10.1.2.0/24"}}
	if err := given.keep(dir); err != nil {
		t.Fatal(err)
	}
	var found networkFlags
	if err := found.recall(dir); err != nil || !reflect.DeepEqual(found, given) {
		t.Errorf("found %+v, %v; want %+v", found, err, given)
	}
	if info, err := os.Stat(filepath.Join(dir, "host", "network.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v; want it for its owner alone", info.Mode(), err)
	}
}
