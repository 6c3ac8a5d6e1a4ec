package provider

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// kinds are what earnings can be told by.
func kinds() []string { return []string{"day", "server", "vm"} }

func earnings(s *session.Session) *cobra.Command {
	by, since := "day", ""
	cmd := verb(s, &cobra.Command{
		Use:   "earnings",
		Short: "Show what your VMs brought in",
		Long: "Show what your VMs brought in, in USDC. What is charged for an epoch is pending until the epoch is over;\n" +
			"the part of a VM that ends before goes back to its customer. What is earned can be withdrawn.",
		Example: session.Lines(
			"cpucloud provider earnings",
			"cpucloud provider earnings --by server --since 30d",
			"cpucloud provider earnings --by vm --since 2026-01-01 -o json | jq -r '.rows[] | [.key, .net] | @tsv'",
		),
		Args: cobra.NoArgs,
	}, func(ctx context.Context, at seat, _ []string) error {
		if !slices.Contains(kinds(), by) {
			return fault.Newf(fault.Invalid, "--by %q is none of %s", by, strings.Join(kinds(), ", "))
		}
		from, err := begin(since, at.Now)
		if err != nil {
			return err
		}
		e, err := at.cloud.Earnings(ctx, at.provider, by, from)
		if err != nil {
			return err
		}
		at.Notef("Earned %s USDC; %s USDC are pending until their epochs are over.", e.Earned, e.Pending)
		if e.Withdrawing != "0" || e.Withdrawn != "0" {
			at.Notef("Besides, %s USDC are being withdrawn, and %s USDC were.", e.Withdrawing, e.Withdrawn)
		}
		return at.Print(e, earned(by, e))
	})
	cmd.Flags().StringVar(&by, "by", by, "what to sum up by: "+strings.Join(kinds(), ", "))
	cmd.Flags().StringVar(&since, "since", "", "only from then on: a date, a time of RFC 3339, or a duration such as 30d (default the beginning)")
	session.CompleteFlag(cmd, "by", session.Words(kinds()...))
	session.CompleteFlag(cmd, "since", cobra.NoFileCompletions)
	return cmd
}

// begin reads --since: a date, a time, or how long ago.
func begin(text string, now func() time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	ago, err := duration(text)
	if err != nil {
		return time.Time{}, fault.Newf(fault.Invalid, "--since %q is none of a date such as 2026-01-31, a time of RFC 3339, or a duration such as 30d", text)
	}
	return now().Add(-ago), nil
}

func earned(by string, e client.Earnings) session.Table {
	t := session.Table{Header: []string{by, "epochs", "charged", "returned", "net"}}
	for _, r := range e.Rows {
		t.Add(cmp.Or(r.Server, r.Key), fmt.Sprint(r.Epochs), r.Charged, r.Returned, r.Net)
	}
	return t
}
