package main

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
)

func TestChosen(t *testing.T) {
	t.Parallel()
	if only, err := chosen("order,boot"); err != nil || !slices.Equal(only, []string{"order", "boot"}) {
		t.Errorf("chosen gave %q, %v", only, err)
	}
	for _, text := range []string{"", "order,", "reboot"} {
		if only, err := chosen(text); err == nil {
			t.Errorf("chosen(%q) gave %q, want an error", text, only)
		}
	}
}

// What is told of many VMs at once is told of the last of them, for each step.
func TestLast(t *testing.T) {
	t.Parallel()
	got := last([]lap{{1, 5, 6, 7}, {3, 4, 5, 9}, {2, 6, 7, 8}})
	if want := (lap{3, 6, 7, 9}); got != want {
		t.Errorf("last is %v, want %v", got, want)
	}
}

func TestSpans(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	v := client.VM{ID: "0xA", Timeline: []client.Event{
		{At: at(-900), Text: "accepted"},
		{At: at(2), Text: "image fetched and checked"},
		{At: at(12), Text: "disk of 25 GiB made"},
		{At: at(15), Text: "address 45.0.0.65 is ready, open ports: 22/tcp"},
		{At: at(115), Text: "machine started with 2 vCPU"},
	}}
	got, err := spans(v, begin)
	if err != nil || !slices.Equal(got, []float64{2, 10, 3, 100}) {
		t.Errorf("spans are %v, %v", got, err)
	}
	v.Timeline = v.Timeline[:4]
	if got, err := spans(v, begin); err == nil {
		t.Errorf("spans of a machine that did not start are %v, want an error", got)
	}
}

// A guest that refuses is reached as one that accepts is.
func TestReached(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(l.Addr().String())
	if err := reached(t.Context(), at); err != nil {
		t.Errorf("a listener: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := reached(t.Context(), at); err != nil {
		t.Errorf("nobody: %v", err)
	}
}
