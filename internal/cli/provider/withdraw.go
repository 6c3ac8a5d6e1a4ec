package provider

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

func withdraw(s *session.Session) *cobra.Command {
	var r client.WithdrawalRequest
	var dry session.DryRun
	cmd := verb(s, &cobra.Command{
		Use:   "withdraw AMOUNT",
		Short: "Ask to be paid what you earned",
		Long: "Ask the operator to pay an amount of USDC of what you have earned. It is set aside at once; until the\n" +
			"operator has paid it, `cpucloud provider withdrawals cancel` takes it back.",
		Example: session.Lines(
			"cpucloud provider withdraw 120.50 --to 'IBAN DE02 1203 0000 0000 2020 51'",
			"cpucloud provider withdraw 50 --to 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed --note January --request-id january",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(ctx context.Context, at seat, args []string) error {
		amount, err := money.Parse(args[0])
		if err != nil {
			return err
		}
		if r.To == "" {
			return fault.New(fault.Invalid, "where is it to be paid? give --to")
		}
		r.Amount = amount.String()
		if r.RequestID == "" {
			if r.RequestID, err = at.NewRequestID(); err != nil {
				return err
			}
		}
		w, err := dry.Of(at.cloud).Withdraw(ctx, at.provider, r)
		if client.Unreached(err) {
			at.Notef("It is not known whether it was asked for. Repeat the command with --request-id %s to make sure.", r.RequestID)
		}
		if err != nil {
			return err
		}
		dry.Note(at.Session)
		return at.PrintWithdrawal(w)
	})
	dry.Bind(cmd)
	f := cmd.Flags()
	f.StringVar(&r.To, "to", "", "where to pay it, in words that the operator understands")
	f.StringVar(&r.Note, "note", "", "what the operator should know besides")
	f.StringVar(&r.RequestID, "request-id", "", "makes the request safe to repeat (default a new one)")
	for _, flag := range []string{"to", "note", "request-id"} {
		session.CompleteFlag(cmd, flag, cobra.NoFileCompletions)
	}
	return cmd
}
