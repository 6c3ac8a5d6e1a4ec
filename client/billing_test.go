package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
)

// TestBillingRequests compares what is sent with the published contract.
func TestBillingRequests(t *testing.T) {
	t.Parallel()
	from, to := time.Date(2026, 1, 31, 13, 0, 0, 5000, time.FixedZone("", 3600)), time.Date(2026, 2, 28, 0, 0, 0, 0, time.UTC)
	for want, do := range map[string]func(context.Context, *client.Client) error{
		"/v1/account":                         func(ctx context.Context, c *client.Client) error { _, err := c.Account(ctx); return err },
		"/v1/account/events?limit=9":          func(ctx context.Context, c *client.Client) error { _, err := c.AccountEvents(ctx, 0, 9); return err },
		"/v1/account/events?before=3&limit=9": func(ctx context.Context, c *client.Client) error { _, err := c.AccountEvents(ctx, 3, 9); return err },
		"/v1/billing/spend?by=day": func(ctx context.Context, c *client.Client) error {
			_, err := c.Spend(ctx, "day", time.Time{}, time.Time{})
			return err
		},
		"/v1/billing/spend?by=vm&from=2026-01-31T12%3A00%3A00.000005Z&to=2026-02-28T00%3A00%3A00Z": func(ctx context.Context, c *client.Client) error {
			_, err := c.Spend(ctx, "vm", from, to)
			return err
		},
		"/v1/billing/statement?format=json":               func(ctx context.Context, c *client.Client) error { _, err := c.Statement(ctx, ""); return err },
		"/v1/billing/statement?format=json&month=2026-11": func(ctx context.Context, c *client.Client) error { _, err := c.Statement(ctx, "2026-11"); return err },
		"/v1/billing/history?from=2026-01-31T12%3A00%3A00.000005Z&kind=charge%2Creturn&limit=7&vm=0x1": func(ctx context.Context, c *client.Client) error {
			for _, err := range c.History(ctx, client.HistoryOptions{VM: "0x1", Kinds: []string{"charge", "return"}, From: from, PageSize: 7}) {
				return err
			}
			return nil
		},
	} {
		var got string
		c := cloud(func(w http.ResponseWriter, r *http.Request) error {
			got = r.URL.RequestURI()
			answer := "{}"
			if strings.HasPrefix(r.URL.Path, "/v1/account/events") {
				answer = "[]"
			}
			_, err := io.WriteString(w, answer)
			return err
		})
		if err := do(t.Context(), c); err != nil || got != want {
			t.Errorf("asked for %s (%v), want %s", got, err, want)
		}
	}
}

// A history is read page by page, as far as it is wanted.
func TestHistory(t *testing.T) {
	t.Parallel()
	asked := 0
	c := cloud(func(w http.ResponseWriter, r *http.Request) error {
		asked++
		page := map[string]string{
			"": `{"items": [{"kind": "refund", "amount": "3"}, {"kind": "charge", "amount": "2"}], "next": "c1"}`, "c1": `{"items": [{"kind": "hold", "amount": "1"}], "next": "c2"}`,
		}[r.URL.Query().Get("cursor")]
		if page == "" {
			w.WriteHeader(http.StatusUnprocessableEntity)
			page = `{"error": "enough"}`
		}
		_, err := io.WriteString(w, page)
		return err
	})
	for _, test := range []struct {
		wanted, asked int
		want          string
	}{{1, 1, "[refund 3]"}, {2, 1, "[refund 3 charge 2]"}, {3, 2, "[refund 3 charge 2 hold 1]"}, {9, 3, "[refund 3 charge 2 hold 1 enough]"}} {
		var got []string
		asked = 0
		for e, err := range c.History(t.Context(), client.HistoryOptions{}) {
			if err != nil {
				got = append(got, err.Error())
				break
			}
			if got = append(got, e.Kind+" "+e.Amount); len(got) == test.wanted {
				break
			}
		}
		if fmt.Sprint(got) != test.want || asked != test.asked {
			t.Errorf("the first %d: %v after %d questions, want %s after %d", test.wanted, got, asked, test.want, test.asked)
		}
	}
}

// A statement is passed on as it is, and one that was cut short is found out.
func TestWriteStatement(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("2026-01-01T00:00:00Z,charge\r\n", 100_000)
	for _, test := range []struct {
		format, answer string
		whole          bool
	}{
		{"csv", long + "2026-02-01T00:00:00Z,closing,,\r\n", true},
		{"csv", long, false},
		{"csv", "", false},
		{"html", "<!doctype html>\n" + long + "</html>\n", true},
		{"html", "<!doctype html>\n" + long, false},
	} {
		var out strings.Builder
		err := cloud(says(http.StatusOK, test.answer)).WriteStatement(t.Context(), "2026-01", test.format, &out)
		if (err == nil) != test.whole || out.String() != test.answer {
			t.Errorf("%s of %d characters: %v, %d were written", test.format, len(test.answer), err, out.Len())
		}
	}
	var out strings.Builder
	err := cloud(says(http.StatusUnprocessableEntity, `{"error": "no such month"}`)).WriteStatement(t.Context(), "x", "csv", &out)
	if client.StatusOf(err) != http.StatusUnprocessableEntity || out.Len() != 0 {
		t.Errorf("got %v and %q", err, out.String())
	}
}
