package session

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// noLimit is how a limit is lifted.
const noLimit = "none"

// LimitFlags are the flags of commands that set limits. One that is left out is
// "".
type LimitFlags struct {
	perDay, perMonth, running string
}

// Bind gives cmd the flags.
func (f *LimitFlags) Bind(cmd *cobra.Command) {
	for _, flag := range []struct {
		to         *string
		name, help string
	}{
		{&f.perDay, "per-day", "most USDC that may be charged in a day of UTC, none for no limit"},
		{&f.perMonth, "per-month", "most USDC that may be charged in a month of UTC, none for no limit"},
		{&f.running, "running", "most USDC per 24 h of all that runs, none for no limit"},
	} {
		cmd.Flags().StringVar(flag.to, flag.name, "", flag.help)
		CompleteFlag(cmd, flag.name, Words(noLimit))
	}
}

// Over returns limits with those changed that were given.
func (f LimitFlags) Over(l client.Limits) (client.Limits, error) {
	for _, flag := range []struct {
		given string
		to    **client.Amount
	}{{f.perDay, &l.PerDay}, {f.perMonth, &l.PerMonth}, {f.running, &l.Running}} {
		switch flag.given {
		case "":
		case noLimit:
			*flag.to = nil
		default:
			amount, err := money.Parse(flag.given)
			if err != nil {
				return l, err
			}
			*flag.to = new(amount.String())
		}
	}
	return l, nil
}

// Given returns a Malformed fault unless one of the flags was.
func (f LimitFlags) Given() error {
	if f == (LimitFlags{}) {
		return fault.New(fault.Malformed, "nothing to change: give --per-day, --per-month or --running")
	}
	return nil
}

// LimitsHeader is that of a table of limits.
func LimitsHeader() []string {
	return []string{"of", "charged today", "limit", "this month", "limit", "per 24 h running", "limit"}
}

// LimitsRow is the row of what may be spent of something.
func LimitsRow(of string, a client.Allowance) []string {
	row := []string{of}
	for _, l := range []client.Limit{a.PerDay, a.PerMonth, a.Running} {
		row = append(row, l.Used, limitOf(l))
	}
	return row
}

func limitOf(l client.Limit) string {
	if l.Limit == nil {
		return "-"
	}
	by := ""
	if l.Operator != nil && *l.Operator == *l.Limit && (l.Own == nil || *l.Own != *l.Limit) {
		by = " (operator)"
	}
	return cmp.Or(*l.Limit, "0") + by
}
