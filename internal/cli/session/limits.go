package session

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// noLimit is how a limit is lifted.
const noLimit = "none"

// LimitFlags are the flags of commands that set limits; one that is left out is
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

// SetLimits completes cmd as one that changes limits: of those that now returns the
// ones that flags name, and set stores and prints them. Both are given the cloud
// to ask, which changes nothing in a dry run.
func SetLimits[T any](s *Session, cmd *cobra.Command, login func() (*client.Client, error),
	now func(ctx context.Context, cloud *client.Client, args []string) (client.Limits, error),
	set func(ctx context.Context, cloud *client.Client, args []string, l client.Limits) (T, error),
	show func(T, []string) error,
) *cobra.Command {
	var flags LimitFlags
	var dry DryRun
	flags.Bind(cmd)
	dry.Bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if flags == (LimitFlags{}) {
			return fault.New(fault.Malformed, "nothing to change: give --per-day, --per-month or --running")
		}
		cloud, err := login()
		if err != nil {
			return err
		}
		l, err := now(cmd.Context(), cloud, args)
		if err != nil {
			return err
		}
		if l, err = flags.Over(l); err != nil {
			return err
		}
		then, err := set(cmd.Context(), dry.Of(cloud), args, l)
		if err != nil {
			return err
		}
		dry.Note(s)
		return show(then, args)
	}
	return cmd
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
	return *l.Limit + by
}
