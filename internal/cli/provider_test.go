package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

const offersFile = `datacenters:
  - {country: DE, city: FRA, tier: 3}
offers:
  - name: standard
    datacenter: de-fra-1
    prices: {vcpu: 0.05, ram: 0.02, storage: 0.004, address: 0.02}
`

// offers writes an offers file and returns its path.
func (w *world) offers(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "offers.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sells makes a provider with a listing and a server.
func (w *world) sells(t *testing.T, name string) {
	t.Helper()
	for _, args := range [][]string{
		{"provider", "create", name}, {"provider", "apply", "--yes", "-f", w.offers(t, offersFile)}, {"provider", "token", "--offer", "standard"},
	} {
		if code, _, stderr := w.run(t, args...); code != 0 {
			t.Fatalf("%q: exit code %d, %s", args, code, stderr)
		}
	}
}

func TestLosingAServerAsks(t *testing.T) {
	t.Parallel()
	for answer, state := range map[string]string{"y\n": "removed", "n\n": "open", "": "open"} {
		w := newWorld(t)
		w.sells(t, "Example")
		w.terminal, w.stdin = true, answer
		rack := w.cloud.sellers[0].servers[0]
		rack["unreachableSince"] = "2026-01-31T12:00:00Z"
		code, stdout, stderr := w.run(t, "provider", "server", "remove", "rack1", "--lost", "--reason", "it burnt down")
		if code != 0 || rack["state"] != state || (stdout != "") != (state == "removed") {
			t.Errorf("answer %q: exit code %d, rack1 is %s, stdout %q; want %s", answer, code, rack["state"], stdout, state)
		}
		if !strings.Contains(stderr, "Remove server rack1 as lost, and end 1 VM with all data? [y/N] ") {
			t.Errorf("asked %q", stderr)
		}
		if state == "removed" && rack["lostReason"] != "it burnt down" {
			t.Errorf("the reason was sent as %v", rack["lostReason"])
		}
	}
}

func TestApplyAsksOnATerminal(t *testing.T) {
	t.Parallel()
	for answer, applied := range map[string]bool{"y\n": true, "n\n": false, "": false} {
		w := newWorld(t)
		w.sells(t, "Example")
		w.terminal, w.stdin = true, answer
		path := w.offers(t, strings.Replace(offersFile, "0.05", "0.06", 1))
		code, stdout, stderr := w.run(t, "provider", "apply", "-f", path)
		price := w.cloud.sellers[0].listing["offers"].([]any)[0].(doc)["prices"].(doc)["vcpu"]
		if code != 0 || (price == "0.06") != applied {
			t.Errorf("answer %q: exit code %d, price %v, applied should be %t", answer, code, price, applied)
		}
		if !strings.Contains(stderr, "is 0.06 instead of 0.05\x1b[0m\nMake 1 change to what Example lists? [y/N] ") {
			t.Errorf("asked %q", stderr)
		}
		if (stdout != "") != applied || !applied && !strings.Contains(stderr, "Nothing was changed.") {
			t.Errorf("answer %q: stdout %q, stderr %q", answer, stdout, stderr)
		}
	}
}

func TestChangesAreColouredForPeopleAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sells(t, "Example")
	path := w.offers(t, strings.Replace(offersFile, "0.05", "0.06", 1))
	for name, c := range map[string]struct {
		terminal bool
		env      string
		want     string
	}{
		"a terminal":        {terminal: true, want: "\x1b[33m~ offer standard: prices.vcpu is 0.06 instead of 0.05\x1b[0m\n"},
		"a terminal in ink": {terminal: true, env: "1", want: "~ offer standard: prices.vcpu is 0.06 instead of 0.05\n"},
		"a pipe":            {want: "~ offer standard: prices.vcpu is 0.06 instead of 0.05\n"},
	} {
		w.terminal, w.env["NO_COLOR"] = c.terminal, c.env
		if _, stdout, _ := w.run(t, "provider", "apply", "--dry-run", "-f", path); stdout != c.want {
			t.Errorf("%s: %q, want %q", name, stdout, c.want)
		}
	}
}

func TestTerminateAsks(t *testing.T) {
	t.Parallel()
	for answer, vms := range map[string]any{"y\n": 0, "n\n": 1} {
		w := newWorld(t)
		w.sells(t, "Example")
		w.terminal, w.stdin = true, answer
		code, _, stderr := w.run(t, "provider", "terminate", "0x11", "--reason", "spam")
		if code != 0 || w.cloud.sellers[0].servers[0]["vms"] != vms || !strings.Contains(stderr, `End VM 0x11 and its disk, and tell its customer "spam"?`) {
			t.Errorf("answer %q: exit code %d, server %v, stderr %q", answer, code, w.cloud.sellers[0].servers[0], stderr)
		}
	}
}

// TestHostileProviderTextIsShownNotObeyed: agents name servers and their parts,
// the cloud words changes.
func TestHostileProviderTextIsShownNotObeyed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sells(t, "Example")
	p := w.cloud.sellers[0]
	v := p.servers[0]
	v["problem"], v["offer"], v["state"] = hostile, hostile, hostile
	v["hardware"] = doc{"cpu": doc{"brand": hostile}}
	v["details"] = doc{"addresses": []string{hostile}, "disks": []doc{{"name": hostile, "model": hostile}}}
	offer := p.listing["offers"].([]any)[0].(doc)
	offer["name"] = hostile
	path := w.offers(t, offersFile)
	for _, args := range [][]string{
		{"provider", "server", "list"},
		{"provider", "server", "show", "rack1"},
		{"provider", "server", "show", "rack1", "-o", "yaml"},
		{"provider", "server", "cordon", hostile},
		{"provider", "apply", "--dry-run", "-f", path},
		{"provider", "apply", "--dry-run", "-f", hostile},
		{"provider", "export"},
		{"provider", "export", "-o", "json"},
		{"provider", "list", "--provider", hostile},
		{"provider", "terminate", hostile, "--reason", "x", "--yes"},
		{"provider", "token", "--datacenter", hostile},
		{"__complete", "provider", "token", "--offer", ""},
	} {
		_, stdout, stderr := w.run(t, args...)
		for _, c := range stdout + stderr {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Errorf("%q prints %U", args, c)
				break
			}
		}
	}
}
