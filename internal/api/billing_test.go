package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// accountLook is the answer of GET /v1/account.
type accountLook struct {
	accountAnswer
	RunningCost struct{ PerEpoch, PerDay, Per30Days string }
	BurnRate    string
	Until       *time.Time `json:"fundsLastUntil"`
	Off         *time.Time `json:"powerOffAt"`
	TopUp       struct {
		Amount string
		Until  time.Time
	}
	VMs []struct {
		Status   string
		Count    int
		PerEpoch string
	}
	Next *struct {
		At           time.Time
		What, Amount string
		ID           string `json:"vmId"`
		Name         string `json:"vmName"`
	}
	Warnings []struct{ Key, Text string }
	Events   []eventAnswer
}

type eventAnswer struct {
	N         int
	Key, Text string
	At        time.Time
}

func (c *cloud) look() accountLook {
	c.t.Helper()
	var a accountLook
	c.send("GET", "/v1/account", "").wants(http.StatusOK, &a)
	return a
}

func (c *cloud) pass(d time.Duration) {
	c.t.Helper()
	if _, err := c.control.AdvanceClock(c.t.Context(), control.System, d); err != nil {
		c.t.Fatal(err)
	}
}

type historyAnswer struct {
	Items []entryAnswer
	Next  *string
}

type entryAnswer struct {
	At                      time.Time
	Kind, Direction, Amount string
	BalanceChange           string
	ReservedChange          string
	VM                      *string `json:"vmId"`
	VMName                  *string
	Epoch                   *int64
	Reason                  string
}

// line is an entry in a line.
func (e entryAnswer) line() string {
	name, epoch := "-", int64(0)
	if e.VMName != nil {
		name = *e.VMName
	}
	if e.Epoch != nil {
		epoch = *e.Epoch
	}
	return fmt.Sprintf("%s %s %s %s/%s %s %d", e.Kind, e.Direction, e.Amount, e.BalanceChange, e.ReservedChange, name, epoch)
}

// An account says what its VMs cost, how long its money lasts for them, and what
// is due next.
func TestAccount(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.deploy("2")
	c.report(vm.Ready)
	active := c.control.Now()
	a := c.look()
	if a.RunningCost.PerEpoch != "1.68" || a.RunningCost.PerDay != "1.68" || a.RunningCost.Per30Days != "50.4" || a.BurnRate != "1.68" {
		t.Errorf("cost %+v, burn rate %s", a.RunningCost, a.BurnRate)
	}
	// 96.64 USDC are 57 top-ups of both VMs, and half of the next.
	until := active.Add(58 * 24 * time.Hour)
	if a.Until == nil || !a.Until.Equal(until) || a.Off == nil || !a.Off.Equal(until.Add(24*time.Hour)) {
		t.Errorf("funds last until %v, power off at %v; want %s and a day later", a.Until, a.Off, until)
	}
	if a.TopUp.Amount != "49.52" || !a.TopUp.Until.Equal(until.Add(30*24*time.Hour)) {
		t.Errorf("top-up %+v", a.TopUp)
	}
	if len(a.VMs) != 1 || a.VMs[0].Status != "Active" || a.VMs[0].Count != 2 || a.VMs[0].PerEpoch != "1.68" {
		t.Errorf("VMs: %+v", a.VMs)
	}
	if a.Next == nil || a.Next.What != "charge" || a.Next.Amount != "0.84" || !a.Next.At.Equal(active.Add(24*time.Hour)) {
		t.Errorf("next: %+v", a.Next)
	}
	if len(a.Warnings)+len(a.Events) != 0 {
		t.Errorf("warnings %v, events %v", a.Warnings, a.Events)
	}
}

// A history tells every entry, page by page and narrowed, and nobody else's.
func TestBillingHistory(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	first := c.deploy("1")[0]
	c.report(vm.Ready)
	c.pass(24 * time.Hour)
	second := c.deploy("1")[0]
	c.send("DELETE", "/vms/v3", `{"vmIds": ["`+first+`"]}`).wants(http.StatusOK, nil)
	want := []string{
		"refund toBalance 0.84 0.84/-0.84 web-1 0", "hold toReserve 1.68 -1.68/1.68 web-1 0", "topup toReserve 0.84 -0.84/0.84 web-1 0",
		"charge out 0.84 0/-0.84 web-1 2", "charge out 0.84 0/-0.84 web-1 1", "hold toReserve 1.68 -1.68/1.68 web-1 0", "deposit in 100 100/0 - 0",
	}
	all := func(key, query string) (lines []string) {
		cursor := ""
		for {
			var page historyAnswer
			c.sendAs(key, "GET", "/v1/billing/history?"+query+"&cursor="+cursor, "").wants(http.StatusOK, &page)
			for _, e := range page.Items {
				lines = append(lines, e.line())
			}
			if page.Next == nil {
				return lines
			}
			cursor = *page.Next
		}
	}
	_, stranger := c.newAccount("Eve", account.Customer)
	for _, row := range []struct {
		key, query string
		want       []string
	}{
		{c.key, "", want},
		{c.key, "limit=1", want},
		{c.key, "limit=3", want},
		{c.key, "limit=7", want},
		{c.key, "kind=charge", want[3:5]},
		{c.key, "kind=deposit,refund", []string{want[0], want[6]}},
		{c.key, "vm=" + second, want[1:2]},
		{c.key, "limit=2&vm=" + first, []string{want[0], want[2], want[3], want[4], want[5]}},
		{c.key, "from=2026-02-01T00:00:00Z", want[:4]},
		{c.key, "to=2026-02-01T00:00:00Z", want[4:]},
		{c.key, "from=2026-02-01T12:00:00Z&to=2026-02-01T12:00:00.000001Z&kind=charge", want[3:4]},
		{c.key, "from=2030-01-01T00:00:00Z", nil},
		{stranger, "", nil},
		{stranger, "kind=charge", nil},
	} {
		if got := all(row.key, row.query); strings.Join(got, "\n") != strings.Join(row.want, "\n") {
			t.Errorf("%s:\n got %q\nwant %q", row.query, got, row.want)
		}
	}
	c.sendAs(stranger, "GET", "/v1/billing/history?vm="+first, "").refused(404, "no VM")
	for query, says := range map[string]string{
		"limit=0": "limit", "limit=501": "limit", "limit=x": "limit", "kind=settle": "kind", "from=today": "from", "to=2026-13-01T00:00:00Z": "to",
		"from=2026-02-01T00:00:00Z&to=2026-02-01T00:00:00Z": "before", "cursor=xyz": "cursor", "cursor=" + strings.Repeat("A", 1000): "cursor",
		"kind=" + strings.Repeat("hold,", 9): "kind",
	} {
		c.send("GET", "/v1/billing/history?"+query, "").refused(422, says)
	}
}

// A page stays where it is when entries come.
func TestBillingHistoryStays(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.deploy("1")
	c.report(vm.Ready)
	var first, second, again historyAnswer
	c.send("GET", "/v1/billing/history?limit=1", "").wants(http.StatusOK, &first)
	path := "/v1/billing/history?limit=1&cursor=" + *first.Next
	c.send("GET", path, "").wants(http.StatusOK, &second)
	c.deploy("1")
	c.pass(48 * time.Hour)
	c.send("GET", path, "").wants(http.StatusOK, &again)
	if second.Items[0].line() != again.Items[0].line() || *second.Next != *again.Next {
		t.Errorf("the second page was %v, and is %v", second.Items, again.Items)
	}
}
