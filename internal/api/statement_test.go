package api_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

type sumsAnswer struct {
	Charged, Returned, Net string
	Epochs                 int64
}

type rowAnswer struct {
	Key, VMName string
	sumsAnswer
}

type purseAnswer struct{ Balance, Reserved, Total string }

type statementAnswer struct {
	Account          struct{ ID, Name string }
	Month            string
	From, To, AsOf   time.Time
	Opening, Closing purseAnswer
	Kinds            []struct {
		Kind, Amount string
		Count        int64
	}
	Spend struct {
		Total                   sumsAnswer
		ByVM, ByDay, ByResource []rowAnswer
		Rest                    *sumsAnswer
	}
	Entries []struct {
		entryAnswer
		Balance, Reserved string
	}
}

// busy makes a cloud in which Ada's VMs ran for some days of February.
func busy(t *testing.T) *cloud {
	t.Helper()
	c := newCloud(t)
	ids := c.deploy("2")
	c.report(vm.Ready)
	c.pass(3 * 24 * time.Hour)
	c.send("DELETE", "/vms/v3", `{"vmIds": ["`+ids[0]+`"]}`).wants(http.StatusOK, nil)
	c.pass(6 * time.Hour)
	providers := struct{ ID, Name string }{}
	if err := c.store.Read(t.Context(), func(tx *store.Tx) error {
		v, err := tx.VM(t.Context(), ids[1])
		providers.ID = v.ProviderID
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c.sendAs(c.operator, "POST", "/v1/providers/"+providers.ID+"/vms/"+ids[1]+"/terminate", `{"reason": "=cmd|' /C calc'!A0"}`).wants(http.StatusOK, nil)
	c.send("DELETE", "/vms/v3", `{"vmIds": ["`+ids[1]+`"]}`).wants(http.StatusOK, nil)
	return c
}

func amountOf(t *testing.T, text string) money.Amount {
	t.Helper()
	var a money.Amount
	if err := a.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return a
}

// A statement comes out: what there was, every entry, and what there is; the sums
// by kind, VM, day and resource are those of the entries.
func TestStatement(t *testing.T) {
	t.Parallel()
	c := busy(t)
	var january, february, march statementAnswer
	c.send("GET", "/v1/billing/statement?month=2026-01", "").wants(http.StatusOK, &january)
	c.send("GET", "/v1/billing/statement", "").wants(http.StatusOK, &february)
	c.send("GET", "/v1/billing/statement?month=2026-03", "").wants(http.StatusOK, &march)
	if january.Opening != (purseAnswer{"0", "0", "0"}) || january.Closing != february.Opening || february.Closing != march.Opening || march.Closing != march.Opening {
		t.Errorf("%+v %+v\n%+v %+v\n%+v %+v", january.Opening, january.Closing, february.Opening, february.Closing, march.Opening, march.Closing)
	}
	// Seven epochs, three quarters of the last of which were returned.
	if february.Closing != (purseAnswer{"93.91", "0", "93.91"}) || february.Closing.Balance != c.balance() {
		t.Errorf("closing: %+v, balance %s", february.Closing, c.balance())
	}
	if len(march.Entries) != 0 || len(march.Kinds) != 0 || !march.AsOf.Equal(c.control.Now()) || !january.AsOf.Equal(january.To) {
		t.Errorf("march: %+v, january: %s", march, january.AsOf)
	}
	for _, st := range []statementAnswer{january, february} {
		free, reserved := amountOf(t, st.Opening.Balance), amountOf(t, st.Opening.Reserved)
		var net money.Amount
		for i, e := range st.Entries {
			free += amountOf(t, e.BalanceChange)
			reserved += amountOf(t, e.ReservedChange)
			if e.Balance != free.String() || e.Reserved != reserved.String() || e.At.Before(st.From) || !e.At.Before(st.To) {
				t.Errorf("%s: entry %d: %+v", st.Month, i, e)
			}
			switch e.Kind {
			case "charge":
				net += amountOf(t, e.Amount)
			case "return":
				net -= amountOf(t, e.Amount)
			}
		}
		if free.String() != st.Closing.Balance || reserved.String() != st.Closing.Reserved || net.String() != st.Spend.Total.Net {
			t.Errorf("%s comes to %s, %s and %s, not %+v and %+v", st.Month, free, reserved, net, st.Closing, st.Spend.Total)
		}
		for name, rows := range map[string][]rowAnswer{"VM": st.Spend.ByVM, "day": st.Spend.ByDay, "resource": st.Spend.ByResource} {
			var sum money.Amount
			for _, r := range rows {
				sum += amountOf(t, r.Net)
			}
			if sum != net {
				t.Errorf("%s: by %s there are %s, not %s", st.Month, name, sum, net)
			}
		}
	}
	// Of each 0.84 USDC, 0.4 are for vCPUs, 0.24 for RAM, 0.1 for storage and 0.1 for the address.
	parts := []rowAnswer{
		{"vcpu", "", sumsAnswer{"2.4", "0.3", "2.1", 6}},
		{"ram", "", sumsAnswer{"1.44", "0.18", "1.26", 6}},
		{"storage", "", sumsAnswer{"0.6", "0.075", "0.525", 6}},
		{"address", "", sumsAnswer{"0.6", "0.075", "0.525", 6}},
	}
	if !slices.Equal(february.Spend.ByResource, parts) {
		t.Errorf("by resource: %+v, want %+v", february.Spend.ByResource, parts)
	}
}

// Spend is what the statement says of the same time.
func TestSpend(t *testing.T) {
	t.Parallel()
	c := busy(t)
	var st statementAnswer
	c.send("GET", "/v1/billing/statement?month=2026-02", "").wants(http.StatusOK, &st)
	for by, want := range map[string][]rowAnswer{"": st.Spend.ByVM, "vm": st.Spend.ByVM, "day": st.Spend.ByDay, "resource": st.Spend.ByResource} {
		var got struct {
			From, To time.Time
			By       string
			Total    sumsAnswer
			Rows     []rowAnswer
			Rest     *sumsAnswer
		}
		c.send("GET", "/v1/billing/spend?by="+by, "").wants(http.StatusOK, &got)
		if !slices.Equal(got.Rows, want) || got.Total != st.Spend.Total || !got.From.Equal(st.From) || got.Rest != nil {
			t.Errorf("by %s: got %+v, want %+v", by, got, want)
		}
		c.send("GET", "/v1/billing/spend?by="+by+"&from=2026-02-02T00:00:00Z&to=2026-02-03T00:00:00Z", "").wants(http.StatusOK, &got)
		if got.Total != (sumsAnswer{"1.68", "0", "1.68", 2}) {
			t.Errorf("of a day by %s: %+v", by, got.Total)
		}
		_, stranger := c.newAccount("Eve", account.Customer)
		c.sendAs(stranger, "GET", "/v1/billing/spend?by="+by, "").wants(http.StatusOK, &got)
		if len(got.Rows) != 0 || got.Total.Net != "0" {
			t.Errorf("of a stranger by %s: %+v", by, got)
		}
	}
	for query, says := range map[string]string{
		"by=year": "vm, day or resource", "from=x": "from", "from=2026-02-02T00:00:00Z&to=2026-02-01T00:00:00Z": "before",
		"by=day&from=2000-01-01T00:00:00Z": "1000 days", "from=2027-01-01T00:00:00Z": "before",
	} {
		c.send("GET", "/v1/billing/spend?"+query, "").refused(422, says)
	}
}

func TestBadStatements(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for _, query := range []string{"month=2026-13", "month=2026-00", "month=2026-1", "month=26-01", "month=2026-01-01", "month=x", "month=1969-12", "month=3000-01", "month=-2026-1"} {
		c.send("GET", "/v1/billing/statement?"+query, "").refused(422, "month")
	}
	c.send("GET", "/v1/billing/statement?format=pdf", "").refused(422, "format")
	c.send("GET", "/v1/billing/statement?format=csv&month=x", "").refused(422, "month")
}

// The lines of a CSV add up, and none of its cells is a formula.
func TestStatementCSV(t *testing.T) {
	t.Parallel()
	c := busy(t)
	answer := c.send("GET", "/v1/billing/statement?month=2026-02&format=csv", "")
	if answer.status != http.StatusOK || answer.header.Get("Content-Type") != "text/csv; charset=utf-8" ||
		answer.header.Get("Content-Disposition") != `attachment; filename="statement-2026-02.csv"` {
		t.Fatalf("%d %v", answer.status, answer.header)
	}
	if same := c.send("GET", "/v1/billing/statement?month=2026-02", "", "Accept: text/csv;q=1, */*"); same.body != answer.body {
		t.Error("the header Accept gives another answer")
	}
	lines, err := csv.NewReader(strings.NewReader(answer.body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	cell := func(line []string, name string) money.Amount {
		if text := line[slices.Index(lines[0], name)]; text != "" {
			return amountOf(t, text)
		}
		return 0
	}
	last := lines[len(lines)-1]
	free, reserved := cell(lines[1], "balance"), cell(lines[1], "reserved")
	for _, line := range lines[2 : len(lines)-1] {
		free += cell(line, "balance_in") - cell(line, "balance_out")
		reserved += cell(line, "reserve_in") - cell(line, "reserve_out")
		if free != cell(line, "balance") || reserved != cell(line, "reserved") {
			t.Errorf("%s and %s after %q", free, reserved, line)
		}
	}
	if lines[1][1] != "opening" || last[1] != "closing" || free != cell(last, "balance") || reserved != cell(last, "reserved") {
		t.Errorf("%s and %s at the end, not as %q", free, reserved, last)
	}
}

// Names and reasons come from strangers: whatever they are, a spreadsheet takes
// none for a formula, and a browser none for markup.
func TestHostileStatement(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	hostile := []string{
		"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", `="x"`, `a,"b"` + "\r\nc", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "{{.Account}}",
	}
	id := c.deploy("1")[0]
	err := c.store.Write(t.Context(), func(tx *store.Tx) error {
		v, err := tx.VM(t.Context(), id)
		if err != nil {
			return err
		}
		v.Name = "=HYPERLINK(\"http://x\")<b>"
		if err := tx.UpdateVM(t.Context(), v); err != nil {
			return err
		}
		for i, reason := range hostile {
			e := ledger.Entry{At: c.control.Now(), Kind: ledger.TopUp, From: ledger.Customer(c.account), To: ledger.Reserve(id), Amount: 1, VM: id, Reason: reason, Key: fmt.Sprint("hostile:", i)}
			if _, err := tx.Post(t.Context(), e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(c.send("GET", "/v1/billing/statement?format=csv", "").body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, line := range lines {
		for _, cell := range line {
			if cell != "" && strings.ContainsAny(string([]rune(cell)[0]), "=+-@\t\r\n＝") {
				t.Errorf("a cell is %q", cell)
			}
			if slices.Contains(hostile, strings.TrimPrefix(cell, "'")) {
				found++
			}
		}
	}
	if found < len(hostile)-2 { // a reader of CSV takes a line's end for one character
		t.Errorf("%d of %d reasons are there", found, len(hostile))
	}
	page := c.send("GET", "/v1/billing/statement?format=html", "").body
	for _, bad := range []string{"<script", "<img", "<b>"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %s", bad)
		}
	}
	var again statementAnswer
	if c.send("GET", "/v1/billing/statement", "").wants(http.StatusOK, &again); again.Entries[len(again.Entries)-1].Reason != hostile[len(hostile)-1] {
		t.Errorf("the last reason is %q", again.Entries[len(again.Entries)-1].Reason)
	}
}

// The page for printing brings all that it needs, and its policy allows nothing else.
func TestStatementPage(t *testing.T) {
	t.Parallel()
	c := busy(t)
	answer := c.send("GET", "/v1/billing/statement?month=2026-02", "", "Accept: text/html,application/xhtml+xml")
	policy := answer.header.Get("Content-Security-Policy")
	if answer.status != http.StatusOK || answer.header.Get("Content-Type") != "text/html; charset=utf-8" ||
		!strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
		t.Errorf("%d %v", answer.status, answer.header)
	}
	for _, bad := range []string{"<script", "style=", "src=", "href=", "url(", "@import", "onload"} {
		if strings.Contains(answer.body, bad) {
			t.Errorf("the page holds %s", bad)
		}
	}
	text := strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(answer.body, " ")), " ")
	for _, part := range []string{
		"Statement for February 2026", "Ada", "There is at the end 93.91", "There was after 93.91 0.00", "Epochs charged 6 5.04", "vCPUs 2.10", "All 6 5.04 0.63 4.41",
		"2026-02-01 12:00:00 rent of epoch 2 (charge) web-1 −0.84 96.64 0.84", "This month is not over",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not say %q: %s", part, text)
		}
	}
}

// A statement of many entries goes out in pieces.
func TestLargeStatement(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	const entries = 5_000
	err := c.store.Write(t.Context(), func(tx *store.Tx) error {
		list := make([]ledger.Entry, entries)
		for i := range list {
			list[i] = ledger.Credit(c.control.Now().Add(time.Duration(i/3)*time.Microsecond), c.account, 1, "a gift", fmt.Sprint("many:", i))
		}
		return tx.PostAll(t.Context(), list)
	})
	if err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]int{"json": entries + 1, "csv": entries + 4, "html": entries + 1} {
		answer := c.send("GET", "/v1/billing/statement?month=2026-01&format="+format, "")
		var got int
		switch format {
		case "json":
			var st statementAnswer
			if err := json.Unmarshal([]byte(answer.body), &st); err != nil {
				t.Fatal(err)
			}
			got = len(st.Entries)
		case "csv":
			got = bytes.Count([]byte(answer.body), []byte("\r\n"))
		case "html":
			got = strings.Count(answer.body, "(deposit)")
		}
		if got != want || answer.header.Get("Content-Length") != "" {
			t.Errorf("%s: %d lines, want %d; its length is said to be %q", format, got, want, answer.header.Get("Content-Length"))
		}
	}
}
