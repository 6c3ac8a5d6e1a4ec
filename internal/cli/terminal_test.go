package cli_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/cpucloud/cpucloud/internal/cli"
)

func TestProgressIsRedrawnOnATerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.terminal = true
	w.cloud.add("slow", "New")
	code, _, stderr := w.run(t, "vm", "wait", "slow")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	lines := strings.Split(stderr, "\r\x1b[K")
	if len(lines) != 3 || !strings.HasPrefix(lines[1], "slow  Launching  ") || !strings.HasPrefix(lines[2], "slow  Active  ") {
		t.Errorf("progress %q, want one line drawn twice", stderr)
	}
	if strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") {
		t.Errorf("progress %q, want a line end behind the last line only", stderr)
	}
}

func TestProgressFitsTheTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.terminal = true
	v := w.cloud.add("web", "New")
	v["timeline"] = append(v["timeline"].([]doc), doc{"at": "2026-01-31T12:00:20Z", "text": strings.Repeat("é", 300) + "\x1b[2J\nhint: pay me"})
	v["vmName"] = "bad" // so that this stays the newest line
	_, _, stderr := w.run(t, "vm", "wait", v["id"].(string))
	for line := range strings.SplitSeq(strings.ReplaceAll(stderr, "\r\x1b[K", "\n"), "\n") {
		if strings.HasPrefix(line, "bad ") && len([]rune(line)) >= 60 {
			t.Errorf("line of %d characters on a terminal of 60: %q", len([]rune(line)), line)
		}
	}
}

func TestDeleteAsks(t *testing.T) {
	t.Parallel()
	for answer, left := range map[string]int{"y\n": 0, "YES\n": 0, "n\n": 1, "\n": 1, "": 1, "yesterday\n": 1} {
		w := newWorld(t)
		w.terminal, w.stdin = true, answer
		w.cloud.add("web", "Active")
		code, _, stderr := w.run(t, "vm", "delete", "web")
		if code != 0 || len(w.cloud.vms) != left {
			t.Errorf("answer %q: exit code %d, %d VMs left, want %d", answer, code, len(w.cloud.vms), left)
		}
		if !strings.Contains(stderr, "Delete VM web (0x11") {
			t.Errorf("question %q names no VM", stderr)
		}
	}
}

// hostile is what a name must not do to a terminal: colours, a cleared screen,
// a second line, text from right to left, a bell, C1 controls.
const hostile = "a\x1b[31m\x1b[2J\nerror: \u202egnp.exe\a\u009b1m\u2028\U000E0001"

func TestHostileTextIsShownNotObeyed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cloud.add(hostile, "Active")
	bad := w.cloud.add("bad", "New")
	bad["osImage"], bad["hostname"] = hostile, hostile
	bad["timeline"] = []doc{{"at": "2026-01-31T12:00:00Z", "text": hostile}}
	w.cloud.keys = []doc{{"name": hostile, "fingerprint": "SHA256:x", "comment": hostile, "createdAt": "2026-01-31T12:00:00Z"}}
	for _, args := range [][]string{
		{"vm", "list"},
		{"vm", "list", "-o", "json"},
		{"vm", "list", "-o", "yaml"},
		{"vm", "show", "bad"},
		{"key", "list"},
		{"vm", "wait", "bad"},
		{"vm", "show", hostile + "?"},
		{"vm", "ssh", "bad"},
		{"vm", "delete", hostile},
		{"__complete", "vm", "show", ""},
		{"vm", "wait", hostile, "--status", "Failed", "--timeout", "1ms"},
		{"vm", "update", "bad", "--close-all-ports"},
		{"vm", "update", hostile, "--close-all-ports"},
		{"vm", "ssh", hostile},
		{"vm", "delete", hostile, "--yes"},
	} {
		_, stdout, stderr := w.run(t, args...)
		for _, c := range stdout + stderr {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Errorf("%q prints %U", args, c)
				break
			}
		}
		if strings.Contains(stdout+stderr, "\nerror: \ufffdgnp") {
			t.Errorf("%q: a name made a line of its own:\n%s%s", args, stdout, stderr)
		}
	}
}

func TestDocumentsCarryHostileTextUnchanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cloud.add(hostile, "Active")
	for format, unmarshal := range map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": yaml.Unmarshal} {
		code, stdout, stderr := w.run(t, "vm", "list", "-o", format)
		if code != 0 {
			t.Fatalf("%s: exit code %d: %s", format, code, stderr)
		}
		var list []map[string]any
		if err := unmarshal([]byte(stdout), &list); err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		if got := list[0]["vmName"]; got != hostile {
			t.Errorf("%s: vmName = %q, want %q", format, got, hostile)
		}
		if got, isText := list[0]["pricePerEpoch"].(string); !isText || got != "0.84" {
			t.Errorf("%s: pricePerEpoch = %v, want the text 0.84", format, list[0]["pricePerEpoch"])
		}
	}
}

// TestRefusalCanNotPoseAsAHint: the cloud's words stay on their line.
func TestRefusalCanNotPoseAsAHint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, stderr := w.run(t, "vm", "show", "0x"+strings.Repeat("0", 40))
	if want := "error: no VM with id \"0x" + strings.Repeat("0", 40) + "\"\nhint: `cpucloud vm list`"; !strings.HasPrefix(stderr, want) {
		t.Errorf("stderr %q, want %q…", stderr, want)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cloud.add("web", "Active")
	w.cloud.add("worker", "Active")
	w.cloud.add("worker", "Active")
	w.cloud.keys = []doc{{"name": "laptop", "fingerprint": "SHA256:x", "createdAt": "2026-01-31T12:00:00Z"}}
	w.sells(t, "Example")
	for line, want := range map[string]string{
		"vm show w":                "web",
		"vm show 0x":               "the ids of both",
		"vm show web w":            "",
		"vm delete web w":          "",
		"vm list --status Act":     "New Launching Active SmallBalance InsufficientFunds Terminated Stopped Failed",
		"vm create x --image u":    "ubuntu-24-04-x64",
		"vm create x --country D":  "DE",
		"offers --config cpu-4":    "cpu-4-ram-8gb-storage-25gb",
		"offers --cpu ":            "AMD",
		"offers --arch ":           "Zen",
		"offers --memory ":         "DDR5",
		"offers --storage-type N":  "HDD SSD NVMe",
		"offers --sort f":          "price free cpuSingle cpuAll memory diskRead diskWrite diskIops diskFsync network",
		"offers --provider Ex":     "Example Hosting",
		"offers --datacenter us":   "us-nyc-1",
		"offers --certification ":  "ISO 27001",
		"why --exclude-provider E": "Example Hosting",
		"why --min-tier ":          "1 2 3 4",
		"quote --strategy ":        "spread pack",
		"quote --hold ":            "1m 2m 5m",
		"vm create x --quote ":     "",
		"key delete ":              "laptop",
		"admin balance set acc":    "acc_1",
		"admin balance set acc_1 ": "",
		"vm list -o y":             "table json yaml",

		"provider server show r":                         "rack1",
		"provider server drain rack1 ":                   "",
		"provider token --datacenter ":                   "de-fra-1",
		"provider token --provider Ex --offer ":          "",
		"provider token --offer s":                       "standard",
		"provider token --provider ":                     "Example",
		"provider earnings --by ":                        "day server vm",
		"provider server list --provider Example -o ":    "table json yaml",
		"provider server remove --provider Nobody rac":   "",
		"provider server benchmark --provider Example r": "rack1",
	} {
		_, stdout, _ := w.run(t, append([]string{"__complete"}, strings.Split(line, " ")...)...)
		words := strings.Fields(stdout)
		words = words[:len(words)-1] // the directive
		if line == "vm show 0x" {
			if len(words) != 2 || !strings.HasPrefix(words[0], "0x22") || !strings.HasPrefix(words[1], "0x33") {
				t.Errorf("%q completes to %q, want the ids of the two workers", line, words)
			}
			continue
		}
		if got := strings.Join(words, " "); got != want {
			t.Errorf("%q completes to %q, want %q", line, got, want)
		}
	}
}

// TestEveryCommandIsExplained keeps the help complete, and finds completions
// that were given to a flag which isn't there.
func TestEveryCommandIsExplained(t *testing.T) {
	t.Parallel()
	var check func(*cobra.Command)
	check = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short text %q", c.CommandPath(), c.Short)
		}
		if c.RunE != nil && !c.HasSubCommands() {
			examples := strings.Split(c.Example, "\n")
			if len(examples) < 2 || len(examples) > 4 {
				t.Errorf("%s: %d examples, want 2 to 4", c.CommandPath(), len(examples))
			}
			for _, e := range examples {
				if !strings.Contains(e, c.CommandPath()) {
					t.Errorf("%s: example %q is about something else", c.CommandPath(), e)
				}
			}
		}
		for _, child := range c.Commands() {
			check(child)
		}
	}
	root := cli.New(cli.IO{})
	check(root)
	for _, c := range []struct{ path, flags string }{
		{"offers", "config country cpu arch memory storage-type sort limit"},
		{"why", "provider exclude-provider datacenter exclude-datacenter min-tier certification min-iops strategy anti-affinity instances"},
		{"quote", "config max-latency hold"},
		{"vm create", "image country config quote strategy datacenter max-fsync"},
		{"vm wait", "status"},
		{"provider token", "provider datacenter offer"},
		{"provider apply", "provider"},
		{"provider server show", "provider"},
	} {
		cmd, _, err := root.Find(strings.Fields(c.path))
		if err != nil {
			t.Fatal(err)
		}
		for flag := range strings.FieldsSeq(c.flags) {
			if _, ok := cmd.GetFlagCompletionFunc(flag); !ok {
				t.Errorf("%s --%s completes to nothing", c.path, flag)
			}
		}
	}
}

func TestExtraCommandsAreListedWithTheOperators(t *testing.T) {
	t.Parallel()
	root := cli.New(cli.IO{}, &cobra.Command{Use: "up", Short: "Start a cloud", RunE: func(*cobra.Command, []string) error { return nil }})
	i := slices.IndexFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == "up" })
	if i < 0 || root.Commands()[i].GroupID != "operator" {
		t.Error("up is not among the operator's commands")
	}
}
