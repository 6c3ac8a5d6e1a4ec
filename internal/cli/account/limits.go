package account

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func limits(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{
		Use:   "limits",
		Short: "What your account may spend",
		Long: "What your account may spend newly, in USDC: charged per day and per month of UTC, and per 24 h for all\n" +
			"that runs. A limit refuses new VMs and quotes; what runs goes on. See `cpucloud account limits set --help`.",
	}, showLimits(s), setLimits(s))
}

func showLimits(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show limits and what is used of them",
		Long: "Show the limits of the account and of the API key, and what is used of them. Used per day and month is\n" +
			"the rent charged since midnight, or the first of the month, UTC, and one epoch of each VM that waits for\n" +
			"its first charge; used by what runs is the rent per 24 h of all VMs that have not ended.",
		Example: session.Lines("cpucloud account limits show", "cpucloud account limits show -o json | jq -r .perDay.used"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			all, err := cloud.Limits(cmd.Context())
			if err != nil {
				return err
			}
			return printLimits(s, all)
		},
	}
}

func printLimits(s *session.Session, all client.Spending) error {
	t := session.Table{Header: session.LimitsHeader()}
	t.Add(session.LimitsRow("account", all.Allowance)...)
	t.Add(session.LimitsRow("key "+all.Key.ID, all.Key.Allowance)...)
	return s.Print(all, t)
}

func setLimits(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Set limits on your account",
		Long: "Set limits on your account, in USDC; `none` lifts one, and those that are left out stay. What runs goes on,\n" +
			"also when more is used than a limit says. Needs an API key that has no limits itself. What the operator\n" +
			"limits stays limited.",
		Example: session.Lines(
			"cpucloud account limits set --per-day 10 --per-month 200",
			"cpucloud account limits set --running 5 --per-day none",
			"cpucloud account limits set --per-day 0 --dry-run",
		),
		Args: cobra.NoArgs,
	}
	return session.SetLimits(s, cmd, s.Cloud,
		func(ctx context.Context, cloud *client.Client, _ []string) (client.Limits, error) {
			now, err := cloud.Limits(ctx)
			return now.OwnLimits(), err
		},
		func(ctx context.Context, cloud *client.Client, _ []string, l client.Limits) (client.Spending, error) {
			return cloud.SetLimits(ctx, l)
		},
		func(all client.Spending, _ []string) error { return printLimits(s, all) },
	)
}
