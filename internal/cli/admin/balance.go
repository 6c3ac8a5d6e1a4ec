package admin

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/money"
)

func balance(s *session.Session) *cobra.Command {
	get := &cobra.Command{
		Use:               "get ACCOUNT",
		Short:             "Print an account's free balance in USDC",
		Example:           session.Lines("cpucloud admin balance get acc_01h8", "cpucloud admin balance get acc_01h8 -o json"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: ids(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Admin()
			if err != nil {
				return err
			}
			a, err := cloud.Balance(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return printBalance(s, a)
		},
	}
	set := payment(s, &cobra.Command{
		Use:     "set ACCOUNT AMOUNT",
		Short:   "Make an account's free balance an amount",
		Long:    "Make an account's free balance an amount of USDC, by a deposit or a withdrawal of the difference.",
		Example: session.Lines("cpucloud admin balance set acc_01h8 100", "cpucloud admin balance set acc_01h8 0 --dry-run"),
	}, (*client.Client).SetBalance)
	credit := payment(s, &cobra.Command{
		Use:     "credit ACCOUNT AMOUNT",
		Short:   "Add an amount of USDC to an account's balance",
		Example: session.Lines("cpucloud admin balance credit acc_01h8 25.50", "cpucloud admin balance credit acc_01h8 1 -o json"),
	}, (*client.Client).Credit)
	return session.Noun(&cobra.Command{Use: "balance", Short: "The money of an account"}, get, set, credit)
}

// payment completes cmd as one that moves an amount and prints the new balance.
func payment(s *session.Session, cmd *cobra.Command, pay func(*client.Client, context.Context, string, client.Amount) (client.Account, error)) *cobra.Command {
	var dry session.DryRun
	dry.Bind(cmd)
	cmd.Args = cobra.ExactArgs(2)
	cmd.ValidArgsFunction = ids(s)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		amount, err := money.Parse(args[1])
		if err != nil {
			return err
		}
		cloud, err := s.Admin()
		if err != nil {
			return err
		}
		a, err := pay(dry.Of(cloud), cmd.Context(), args[0], amount.String())
		if err != nil {
			return err
		}
		dry.Note(s)
		return printBalance(s, a)
	}
	return cmd
}

// printBalance prints the bare amount for people and shell scripts.
func printBalance(s *session.Session, a client.Account) error {
	var t session.Table
	t.Add(a.Balance)
	return s.Print(struct {
		Balance  client.Amount `json:"balance"`
		Reserved client.Amount `json:"reserved"`
		Spent    client.Amount `json:"spent"`
	}{a.Balance, a.Reserved, a.Spent}, t)
}
