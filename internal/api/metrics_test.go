package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Operators, and they alone, are told figures; what the newest check found is
// among them.
func TestMetrics(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.deploy("1")
	c.report(vm.Ready)
	for _, key := range []string{"", "wrong", c.key} {
		if w := c.scrape(key); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "cpucloud_") {
			t.Errorf("with key %q: %d %s", key, w.Code, w.Body)
		}
	}
	text := c.scrape(c.operator).Body.String()
	for _, line := range []string{
		`cpucloud_vms{state="Active"} 1`, `cpucloud_servers{state="open"} 1`, "cpucloud_accounts 3", "cpucloud_withdrawals_requested 0", "cpucloud_billing_behind_seconds 0", "go_goroutines ",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	if strings.Contains(text, "cpucloud_fsck") {
		t.Error("nothing was checked yet, and there are figures of a check")
	}
	c.sendAs(c.operator, "GET", "/v1/admin/fsck", "").wants(http.StatusOK, nil)
	if text = c.scrape(c.operator).Body.String(); !strings.Contains(text, "cpucloud_fsck_discrepancies 0\n") {
		t.Errorf("after a check: %s", text)
	}
	if err := c.store.Write(t.Context(), func(tx *store.Tx) error {
		return tx.PostAll(t.Context(), []ledger.Entry{{
			At: c.control.Now(), Kind: ledger.TopUp, From: ledger.External, To: ledger.Reserve("0xnone"), Amount: 5, Key: "x",
		}})
	}); err != nil {
		t.Fatal(err)
	}
	c.sendAs(c.operator, "GET", "/v1/admin/fsck", "").wants(http.StatusOK, nil)
	if text = c.scrape(c.operator).Body.String(); !strings.Contains(text, "cpucloud_fsck_discrepancies 1\n") {
		t.Errorf("after a discrepancy: %s", text)
	}
}

func (c *cloud) scrape(key string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	return w
}
