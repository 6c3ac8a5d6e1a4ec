package admin

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func withdrawal(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{Use: "withdrawal", Aliases: []string{"withdrawals"}, Short: "What providers ask to be paid"},
		listWithdrawals(s), confirmWithdrawal(s), rejectWithdrawal(s))
}

func listWithdrawals(s *session.Session) *cobra.Command {
	status := ""
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the withdrawals of all providers",
		Long:    "List the withdrawals of all providers: the newest first, those that wait for you oldest first.",
		Example: session.Lines(
			"cpucloud admin withdrawal list --status requested",
			"cpucloud admin withdrawal list -o json | jq -r '.[] | [.provider, .amount, .to] | @tsv'",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, err := s.Admin()
			if err != nil {
				return err
			}
			list, err := cloud.AllWithdrawals(cmd.Context(), status)
			if err != nil {
				return err
			}
			return s.PrintWithdrawals(list, true)
		},
	}
	session.StatusFlag(cmd, &status)
	return cmd
}

func confirmWithdrawal(s *session.Session) *cobra.Command {
	return decision(s, &cobra.Command{
		Use:   "confirm ID",
		Short: "Say that you have paid a withdrawal",
		Long: "Say that you have paid a withdrawal, with the reference of the transfer. It may be repeated with the same\n" +
			"reference. With another it fails: then it was paid twice, and one transfer has to come back.",
		Example: session.Lines(
			"cpucloud admin withdrawal confirm wdr_06abk5 --reference 'transfer 4711'",
			"cpucloud admin withdrawal confirm wdr_06abk5 --reference 0x88df016429689c079f3b2f6ad39fa052532c56795b733da78a91ebe6a713944b",
		),
	}, "reference", "of the transfer: its provider finds it by that", (*client.Client).ConfirmWithdrawal)
}

func rejectWithdrawal(s *session.Session) *cobra.Command {
	return decision(s, &cobra.Command{
		Use:   "reject ID",
		Short: "Say that you won't pay a withdrawal",
		Long:  "Say that you won't pay a withdrawal, and why. The amount is its provider's as before.",
		Example: session.Lines(
			"cpucloud admin withdrawal reject wdr_06abk5 --reason 'no such account there'",
			"cpucloud admin withdrawal reject wdr_06abk5 --reason 'please ask for it in euros' -o json",
		),
	}, "reason", "what its provider is told", (*client.Client).RejectWithdrawal)
}

// decision completes cmd as one that decides a withdrawal with a text.
func decision(
	s *session.Session, cmd *cobra.Command, flag, usage string, decide func(*client.Client, context.Context, string, string) (client.Withdrawal, error),
) *cobra.Command {
	text := ""
	var dry session.DryRun
	dry.Bind(cmd)
	cmd.Args = cobra.ExactArgs(1)
	cmd.ValidArgsFunction = session.CompleteWith(s.Admin, func(ctx context.Context, cloud *client.Client) ([]string, error) {
		list, err := cloud.AllWithdrawals(ctx, "requested")
		return session.WithdrawalIDs(list), err
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if text == "" {
			return fault.Newf(fault.Invalid, "its provider has to be told: give --%s", flag)
		}
		cloud, err := s.Admin()
		if err != nil {
			return err
		}
		w, err := decide(dry.Of(cloud), cmd.Context(), args[0], text)
		if err != nil {
			return err
		}
		dry.Note(s)
		return s.PrintWithdrawal(w)
	}
	cmd.Flags().StringVar(&text, flag, "", usage)
	session.CompleteFlag(cmd, flag, cobra.NoFileCompletions)
	return cmd
}
