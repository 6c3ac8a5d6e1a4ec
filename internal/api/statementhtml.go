package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"html/template"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

var (
	//go:embed statement/page.html
	statementPage string
	//go:embed statement/style.css
	statementStyle string
)

// The page is written in three parts, so that its entries need not be in memory.
var statementParts = template.Must(template.New("").Funcs(template.FuncMap{
	"style":    func() template.CSS { return template.CSS(statementStyle) }, //nolint:gosec // it is ours
	"month":    func(t time.Time) string { return t.UTC().Format("January 2006") },
	"time":     func(t time.Time) string { return t.UTC().Format(time.DateTime) },
	"kind":     func(kind string) string { return cmp.Or(kindNames[ledger.Kind(kind)], kind) },
	"resource": func(key string) string { return cmp.Or(resourceNames[key], key) },
	"paid":     paid,
	"usdc":     usdc,
	"change":   signed,
}).Parse(statementPage))

var kindNames = map[ledger.Kind]string{
	ledger.Deposit: "Deposits", ledger.Withdrawal: "Withdrawals", ledger.Hold: "Held for new VMs", ledger.Charge: "Epochs charged",
	ledger.TopUp: "Reserves filled", ledger.Refund: "Reserves given back", ledger.Return: "Returned for what was not delivered",
}

var resourceNames = map[string]string{
	"vcpu": "vCPUs", "ram": "RAM", "storage": "Storage", "address": "Public addresses", "other": "Of VMs without known prices",
}

// paid returns what was paid in less what was paid out: all that changed the
// money besides what VMs cost.
func paid(head StatementHead) string {
	return usdc(head.Closing.Total - head.Opening.Total + head.Spend.Total.Net)
}

// usdc shows an amount with two decimals at least, so that those of a column
// stand below each other.
func usdc(a money.Amount) string {
	text := a.String()
	_, decimals, _ := strings.Cut(text, ".")
	switch len(decimals) {
	case 0:
		return text + ".00"
	case 1:
		return text + "0"
	}
	return text
}

// signed shows what is added with a plus, what is taken with a minus, and nothing
// as nothing.
func signed(change money.Amount) string {
	switch {
	case change > 0:
		return "+" + usdc(change)
	case change < 0:
		return "−" + usdc(-change)
	}
	return ""
}

// statementPolicy allows a page its own style and nothing else.
func statementPolicy() string {
	sum := sha256.Sum256([]byte(statementStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

func (a statementAnswer) writeHTML(ctx context.Context, p *page) error {
	p.kind = htmlType + "; charset=utf-8"
	p.w.Header().Set("Content-Security-Policy", statementPolicy())
	head := headOf(a.Statement)
	if err := statementParts.ExecuteTemplate(p, "head", head); err != nil {
		return err
	}
	if err := a.Each(ctx, func(i control.StatementItem) error {
		return firstError(statementParts.ExecuteTemplate(p, "entry", i), p.turn())
	}); err != nil {
		return err
	}
	return statementParts.ExecuteTemplate(p, "foot", head)
}
