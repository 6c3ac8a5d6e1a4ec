package admin

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func limits(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{
		Use:   "limits",
		Short: "What accounts may spend",
		Long: "What accounts may spend newly, in USDC. An account can't raise what is set here; of two limits the tighter\n" +
			"one counts. `cpucloud account limits show --help` says how it is counted.",
	}, showLimits(s), setLimits(s))
}

func showLimits(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:               "show ACCOUNT",
		Short:             "Show an account's limits and what is used of them",
		Example:           session.Lines("cpucloud admin account limits show acc_01h8", "cpucloud admin account limits show acc_01h8 -o json | jq .running"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: ids(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Admin()
			if err != nil {
				return err
			}
			a, err := cloud.AccountLimits(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return printLimits(s, args[0], a)
		},
	}
}

func printLimits(s *session.Session, account string, a client.Allowance) error {
	t := session.Table{Header: session.LimitsHeader()}
	t.Add(session.LimitsRow(account, a)...)
	return s.Print(a, t)
}

func setLimits(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set ACCOUNT",
		Short: "Set limits on an account that it can't raise",
		Long: "Set limits on an account that it can't raise, in USDC; `none` lifts one, and those that are left out stay.\n" +
			"New VMs and quotes are refused beyond them; what runs goes on.",
		Example: session.Lines(
			"cpucloud admin account limits set acc_01h8 --per-month 500",
			"cpucloud admin account limits set acc_01h8 --per-month none --running 20",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: ids(s),
	}
	return session.SetLimits(s, cmd, s.Admin,
		func(ctx context.Context, cloud *client.Client, args []string) (client.Limits, error) {
			now, err := cloud.AccountLimits(ctx, args[0])
			return now.OperatorLimits(), err
		},
		func(ctx context.Context, cloud *client.Client, args []string, l client.Limits) (client.Allowance, error) {
			return cloud.SetAccountLimits(ctx, args[0], l)
		},
		func(a client.Allowance, args []string) error { return printLimits(s, args[0], a) },
	)
}
