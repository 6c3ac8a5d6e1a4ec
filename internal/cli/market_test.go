package cli_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/cli"
)

// allFilters are the flags that only the newer requests know.
const allFilters = "--min-tier 3 --certification SOC2 --provider A,B --exclude-provider C --datacenter us-nyc-1 --exclude-datacenter us-lax-1 " +
	"--min-cpu-score 900 --min-cpu-all 9000 --min-memory-speed 8000 --min-disk-read 500 --min-disk-write 400 --min-iops 10000 --max-fsync 2.5 --max-latency 40"

func allWishes() doc {
	return doc{
		"minTier": 3.0, "certifications": []any{"SOC2"}, "providers": []any{"A", "B"}, "excludeProviders": []any{"C"},
		"datacenters": []any{"us-nyc-1"}, "excludeDatacenters": []any{"us-lax-1"},
		"minMeasured": doc{
			"cpuSingle": 900.0, "cpuAll": 9000.0, "memory": 8000.0, "diskRead": 500.0, "diskWrite": 400.0, "diskIops": 10000.0, "diskFsync": 2.5, "network": 40.0,
		},
	}
}

// with returns a document with more members.
func with(d doc, more doc) doc {
	maps.Copy(d, more)
	return d
}

// TestFiltersAreSent: every command that takes the filters sends all of them.
func TestFiltersAreSent(t *testing.T) {
	t.Parallel()
	placing := doc{"constraints": allWishes(), "instances": 2.0, "strategy": "pack", "antiAffinityGroup": "db"}
	for command, want := range map[string]doc{
		"offers --sort diskIops --limit 7":                         with(allWishes(), doc{"sort": "diskIops", "limit": 7.0}),
		"why -n 2 --strategy pack --anti-affinity db":              placing,
		"quote -n 2 --strategy pack --anti-affinity db --hold 90s": with(doc{"holdSeconds": 90.0}, placing),
		"vm create web -n 2 --strategy pack --anti-affinity db --request-id r --ssh-key k": with(doc{
			"requestId": "r", "vmConfiguration": doc{"name": "web", "osImage": "https://images.example/demo.qcow2", "sshKeys": []any{"k"}},
		}, placing),
	} {
		w := newWorld(t)
		code, _, stderr := w.run(t, strings.Fields(command+" "+allFilters)...)
		m := w.cloud.market
		sent := append(append(append(m.searched, m.asked...), m.quotes...), w.cloud.placed...)
		if code != 0 || len(sent) != 1 || !reflect.DeepEqual(sent[0], want) {
			t.Errorf("%s: exit code %d, %s, sent\n%v, want\n%v", command, code, stderr, sent, want)
		}
	}
}

// TestCreateWithOneNewerFlag: one newer flag is enough for the newer request.
func TestCreateWithOneNewerFlag(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cloud.market.quotes = []doc{{}}
	for i, flags := range []string{"--quote quo_1", "--strategy spread", "--anti-affinity a", "--provider A", "--max-fsync 3"} {
		code, _, stderr := w.run(t, strings.Fields("vm create web --ssh-key k "+flags)...)
		if code != 0 || len(w.cloud.placed) != i+1 {
			t.Errorf("%s: exit code %d, %d requests: %s", flags, code, len(w.cloud.placed), stderr)
		}
	}
	if got := w.cloud.placed[0]; got["quoteId"] != "quo_1" || got["instances"] != 1.0 || got["constraints"] != nil {
		t.Errorf("sent %v for a quote", got)
	}
}

// TestPages: as many lines as asked for, over as many pages as that takes.
func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cloud.market.offers = 2500
	for _, c := range []struct {
		flags        string
		lines, pages int
		more         string
	}{
		{"", 100, 1, "There is more: --limit 200 shows twice as much, --all everything.\n"},
		{"--limit 1000", 1000, 1, "There is more: --limit 2000 shows twice as much, --all everything.\n"},
		{"--limit 1001", 1001, 2, "There is more: --limit 2002 shows twice as much, --all everything.\n"},
		{"--limit 2500", 2500, 3, ""},
		{"--limit 9000", 2500, 3, ""},
		{"--all", 2500, 3, ""},
	} {
		w.cloud.market.searched = nil
		code, stdout, stderr := w.run(t, strings.Fields("offers -o json "+c.flags)...)
		var list []struct {
			Offer string `json:"offer"`
		}
		err := json.Unmarshal([]byte(stdout), &list)
		names := map[string]bool{}
		for _, o := range list {
			names[o.Offer] = true
		}
		if err != nil || code != 0 || len(list) != c.lines || len(names) != c.lines || len(w.cloud.market.searched) != c.pages || stderr != c.more {
			t.Errorf("%q: exit code %d, %v, %d lines of %d offers from %d pages, stderr %q; want %+v",
				c.flags, code, err, len(list), len(names), len(w.cloud.market.searched), stderr, c)
		}
	}
}

// TestMeasured: the table shows the best score of one thread and its age, the
// JSON all figures.
func TestMeasured(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cloud.market.offers = 2
	for at, want := range map[string]string{
		"2026-01-31T12:00:00Z": "1012, 3d old", "2026-01-28T17:59:00Z": "1012, 5h old", "2026-01-28T12:07:30Z": "1012, 7m old", "2026-01-28T11:00:00Z": "1012, 0m old",
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		io := cli.IO{In: &bytes.Buffer{}, Out: &out, Err: &errs, Env: func(name string) string { return w.env[name] }, Now: func() time.Time { return now }}
		root := cli.New(io)
		root.SetArgs([]string{"offers"})
		code := cli.Execute(t.Context(), root, io)
		lines := strings.Split(out.String(), "\n")
		if code != 0 || len(lines) != 4 || !strings.HasSuffix(lines[1], "  -") || !strings.HasSuffix(lines[2], "  "+want) || !strings.Contains(lines[2], "AMD Zen, 4 vCPU a thread  ") {
			t.Errorf("at %s: exit code %d, %s%s; want … %s", at, code, out.String(), errs.String(), want)
		}
	}
	_, stdout, _ := w.run(t, "offers", "-o", "json")
	var list []struct {
		Measured doc `json:"measured"`
	}
	want := doc{
		"servers": 2.0, "oldest": "2026-01-28T12:00:00Z", "cpuSingle": doc{"worst": 990.5, "best": 1012.25}, "diskFsync": doc{"worst": 2.5, "best": 0.5},
	}
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || len(list) != 2 || list[0].Measured != nil || !reflect.DeepEqual(list[1].Measured, want) {
		t.Errorf("%v, %+v; want %v in the second", err, list, want)
	}
}

// TestRefusalIsExplained: the same constraints are asked about, and the
// sentence, the exit code and standard output stay as they are.
func TestRefusalIsExplained(t *testing.T) {
	t.Parallel()
	constraints := doc{"datacenter": doc{"countries": []any{"FR"}}, "maxTotalPricePerEpochUsd": "0.2"}
	for command, want := range map[string]doc{
		"estimate -n 3": {"constraints": constraints, "instances": 3.0},
		"quote -n 3 --strategy spread --anti-affinity db":                   {"constraints": constraints, "instances": 3.0, "strategy": "spread", "antiAffinityGroup": "db"},
		"vm create web --ssh-key k -n 3":                                    {"constraints": constraints, "instances": 3.0},
		"vm create web --ssh-key k -n 3 --anti-affinity db --strategy pack": {"constraints": constraints, "instances": 3.0, "strategy": "pack", "antiAffinityGroup": "db"},
	} {
		w := newWorld(t)
		args := append(strings.Fields(command), "--country", "FR", "--max-price", "0.2", "-o", "json")
		code, stdout, stderr := w.run(t, args...)
		if code != 6 || stdout != "" || !strings.HasPrefix(stderr, "error: No suitable offer found\n") || !strings.Contains(stderr, "\nAny of these is enough:\n  raise ") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", command, code, stdout, stderr)
		}
		if asked := w.cloud.market.asked; len(asked) != 1 || !reflect.DeepEqual(asked[0], want) {
			t.Errorf("%s: asked about %v, want %v", command, asked, want)
		}
	}
}

// TestNoExplanationIsSilent: where the reasons can't be had, or another thing
// was refused, nothing but the refusal is said.
func TestNoExplanationIsSilent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cloud.market.silent = true
	const hint = "hint: `cpucloud offers` takes the same filters and shows what is free; loosen one of them\n"
	for command, want := range map[string]string{
		"quote --country FR":    "error: No suitable offer found\n" + hint,
		"estimate --country FR": "error: No suitable offer found\n" + hint,
		"quote -n 5":            "error: Not enough offers found\n" + hint,
		"offers --country FR":   "Nothing fits. Loosen a filter, or see everything with `cpucloud offers`.\n",
		"quote --hold 10m":      "error: a quote holds for 1m0s to 5m0s, not 600s\n",
		"vm create web -n 5 --ssh-key k --strategy pack": "error: Not enough offers found\n" + hint,
	} {
		asked := len(w.cloud.market.asked)
		_, stdout, stderr := w.run(t, strings.Fields(command)...)
		if stdout != "" || stderr != want {
			t.Errorf("%s: stdout %q, stderr %q, want %q", command, stdout, stderr, want)
		}
		if strings.Contains(command, "--hold") && len(w.cloud.market.asked) != asked {
			t.Errorf("%s: asked for reasons of something else", command)
		}
	}
	if code, _, stderr := w.run(t, "why"); code != 7 || !strings.HasPrefix(stderr, "error: internal error") {
		t.Errorf("why: exit code %d, stderr %q", code, stderr)
	}
}
