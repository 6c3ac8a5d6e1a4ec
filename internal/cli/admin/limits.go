package admin

import (
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
	var flags session.LimitFlags
	var dry session.DryRun
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
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.Given(); err != nil {
				return err
			}
			cloud, err := s.Admin()
			if err != nil {
				return err
			}
			now, err := cloud.AccountLimits(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			l, err := flags.Over(now.OperatorLimits())
			if err != nil {
				return err
			}
			a, err := dry.Of(cloud).SetAccountLimits(cmd.Context(), args[0], l)
			if err != nil {
				return err
			}
			dry.Note(s)
			return printLimits(s, args[0], a)
		},
	}
	flags.Bind(cmd)
	dry.Bind(cmd)
	return cmd
}
