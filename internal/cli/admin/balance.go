package admin

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
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
	return session.Noun(&cobra.Command{Use: "balance", Short: "The money of an account"}, get, setBalance(s), credit(s), payments(s))
}

func setBalance(s *session.Session) *cobra.Command {
	return transfer(s, &cobra.Command{
		Use:   "set ACCOUNT AMOUNT",
		Short: "Make an account's free balance an amount",
		Long: "Make an account's free balance an amount of USDC, by a deposit or a withdrawal of the difference. It is a\n" +
			"correction: neither the smallest deposit nor the largest balance of the cloud binds it.",
		Example: session.Lines(
			"cpucloud admin balance set acc_01h8 100 --note 'balance of the old system'",
			"cpucloud admin balance set acc_01h8 0 --note 'account closed, paid back by transfer 4711'",
		),
	}, func(ctx context.Context, cloud *client.Client, account string, amount client.Amount, note string) error {
		a, err := cloud.SetBalance(ctx, account, amount, note)
		if err != nil {
			return err
		}
		return printBalance(s, a)
	})
}

func credit(s *session.Session) *cobra.Command {
	id := ""
	cmd := transfer(s, &cobra.Command{
		Use:   "credit ACCOUNT AMOUNT",
		Short: "Add an amount of USDC to an account's balance",
		Long: "Add an amount of USDC to an account's balance, as a payment that its customer reads of. With a payment id it\n" +
			"is credited once, however often and by whom it is repeated: give the number of the invoice or transfer.",
		Example: session.Lines(
			"cpucloud admin balance credit acc_01h8 25.50 --note 'invoice 1042' --payment-id inv-1042",
			"cpucloud admin balance credit acc_01h8 10 --note 'for the trouble' -o json",
		),
	}, func(ctx context.Context, cloud *client.Client, account string, amount client.Amount, note string) (err error) {
		c := client.Credit{Amount: amount, Note: note, PaymentID: id}
		if c.PaymentID == "" {
			if c.PaymentID, err = s.NewRequestID(); err != nil {
				return err
			}
		}
		made, err := cloud.Credit(ctx, account, c)
		if client.Unreached(err) {
			s.Notef("It is not known whether it was credited. Repeat the command with --payment-id %s to make sure.", c.PaymentID)
		}
		if err != nil {
			return err
		}
		if made.Payment.Repeated && id != "" {
			s.Notef("Payment %s was credited already, at %s UTC: nothing was added.", id, made.Payment.CreditedAt.UTC().Format(time.DateTime))
		}
		return printBalance(s, made.Account)
	})
	cmd.Flags().StringVar(&id, "payment-id", "", "makes the payment safe to repeat, such as the number of its invoice (default a new one)")
	session.CompleteFlag(cmd, "payment-id", cobra.NoFileCompletions)
	return cmd
}

// transfer completes cmd as one that moves an amount for a reason.
func transfer(
	s *session.Session, cmd *cobra.Command, move func(ctx context.Context, cloud *client.Client, account string, amount client.Amount, note string) error,
) *cobra.Command {
	note := ""
	var dry session.DryRun
	dry.Bind(cmd)
	cmd.Args = cobra.ExactArgs(2)
	cmd.ValidArgsFunction = ids(s)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		amount, err := money.Parse(args[1])
		if err != nil {
			return err
		}
		if note == "" {
			return fault.New(fault.Invalid, "its customer has to be told what for: give --note")
		}
		cloud, err := s.Admin()
		if err != nil {
			return err
		}
		if err := move(cmd.Context(), dry.Of(cloud), args[0], amount.String(), note); err != nil {
			return err
		}
		dry.Note(s)
		return nil
	}
	cmd.Flags().StringVar(&note, "note", "", "what it is for; the customer reads it")
	session.CompleteFlag(cmd, "note", cobra.NoFileCompletions)
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
