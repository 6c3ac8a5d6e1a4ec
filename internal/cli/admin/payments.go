package admin

import (
	"cmp"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func payments(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:   "payments ACCOUNT",
		Short: "List what came into an account and left it",
		Long: "List what came into an account from outside and left it, newest first: payments and corrections, with the\n" +
			"account and key of who made them, which its customer does not see.",
		Example: session.Lines(
			"cpucloud admin balance payments acc_01h8",
			"cpucloud admin balance payments acc_01h8 -o json | jq -r '.[] | [.at, .amount, .actor] | @tsv'",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: ids(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Admin()
			if err != nil {
				return err
			}
			list, err := cloud.Payments(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			t := session.Table{Header: []string{"at", "kind", "amount", "what for", "by"}}
			for _, p := range list {
				t.Add(p.At.UTC().Format(time.DateTime), p.Kind, p.Amount, p.Reason, cmp.Or(p.Actor, "-"))
			}
			return s.Print(list, t)
		},
	}
}
