package api

import (
	"context"
	"encoding/csv"
	"strconv"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

// writeCSV writes a line for what there is at the beginning, one for each entry,
// and one for what there is at the end. What comes in and goes out stands in
// columns of its own, so that no number begins with a sign.
func (a statementAnswer) writeCSV(ctx context.Context, p *page) error {
	p.kind = csvType + "; charset=utf-8"
	p.w.Header().Set("Content-Disposition", `attachment; filename="statement-`+a.Month+`.csv"`)
	w := csv.NewWriter(p)
	w.UseCRLF = true
	line := func(cells ...string) error {
		for i := range cells {
			cells[i] = harmless(cells[i])
		}
		_ = w.Write(cells) // a page takes all
		w.Flush()
		return p.turn()
	}
	total := func(kind string, at time.Time, money ledger.Purse, reason string) error {
		return line(stamp(at), kind, "", "", "", "", "", "", "", money.Free.String(), money.Reserved.String(), reason)
	}
	err := firstError(
		line("time", "kind", "vm_id", "vm_name", "epoch", "balance_in", "balance_out", "reserve_in", "reserve_out", "balance", "reserved", "reason"),
		total("opening", a.From, a.Opening, "what there was before"),
	)
	if err != nil {
		return err
	}
	if err := a.Each(ctx, func(i control.StatementItem) error {
		epoch := ""
		if i.Epoch > 0 {
			epoch = strconv.FormatInt(i.Epoch, 10)
		}
		in, out := apart(i.Change.Free)
		reserveIn, reserveOut := apart(i.Change.Reserved)
		return line(stamp(i.At), string(i.Kind), i.VM, i.VMName, epoch, in, out, reserveIn, reserveOut, i.After.Free.String(), i.After.Reserved.String(), i.Reason)
	}); err != nil {
		return err
	}
	return total("closing", a.AsOf, a.Closing, "what there was after")
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// apart returns what comes in and what goes out, "" for nothing.
func apart(change money.Amount) (in, out string) {
	switch {
	case change > 0:
		return change.String(), ""
	case change < 0:
		return "", (-change).String()
	}
	return "", ""
}

// harmless returns a cell that no spreadsheet takes for a formula, on one line.
func harmless(cell string) string {
	cell = strings.Map(func(c rune) rune {
		if c == '\x00' {
			return -1
		}
		return c
	}, cell)
	if strings.ContainsAny(firstRune(cell), "=+-@\t\r\n＝＋－＠") {
		return "'" + cell
	}
	return cell
}

func firstRune(s string) string {
	for _, c := range s {
		return string(c)
	}
	return " "
}
