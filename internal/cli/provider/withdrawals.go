package provider

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func withdrawals(s *session.Session) *cobra.Command {
	status := ""
	cmd := verb(s, &cobra.Command{
		Use:     "withdrawals",
		Aliases: []string{"withdrawal"},
		Short:   "List what you asked to be paid, or take it back",
		Long:    "List your withdrawals: the newest first, those that wait for the operator oldest first.",
		Example: session.Lines(
			"cpucloud provider withdrawals",
			"cpucloud provider withdrawals --status requested -o json | jq -r '.[].id'",
		),
		Args: cobra.NoArgs,
	}, func(ctx context.Context, at seat, _ []string) error {
		list, err := at.cloud.Withdrawals(ctx, at.provider, status)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			at.Notef("No withdrawals. `cpucloud provider withdraw` asks for one.")
		}
		return at.PrintWithdrawals(list, false)
	})
	session.StatusFlag(cmd, &status)
	cmd.AddCommand(cancelWithdrawal(s))
	return cmd
}

func cancelWithdrawal(s *session.Session) *cobra.Command {
	return verb(s, &cobra.Command{
		Use:   "cancel ID",
		Short: "Take back a request to be paid",
		Long:  "Take back a request to be paid that the operator has not decided yet. The amount is earned as before.",
		Example: session.Lines(
			"cpucloud provider withdrawals cancel wdr_06abk5",
			"cpucloud provider withdrawals cancel wdr_06abk5 -o json",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(complete(s, requested)),
	}, func(ctx context.Context, at seat, args []string) error {
		w, err := at.cloud.CancelWithdrawal(ctx, at.provider, args[0])
		if err != nil {
			return err
		}
		return at.PrintWithdrawal(w)
	})
}

// requested returns the ids of what the provider has asked for.
func requested(ctx context.Context, at seat) ([]string, error) {
	list, err := at.cloud.Withdrawals(ctx, at.provider, "requested")
	return session.WithdrawalIDs(list), err
}
