// Package account holds the commands for the caller's own account: its money, its
// limits and its API keys.
package account

import (
	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// Command is the noun account.
func Command(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Show your account and its balance",
		Long: "Show the account of the API key. The balance can be spent; what is reserved is held for VMs\n" +
			"and comes back when they are deleted; what is spent was charged by all VMs that there ever were.\n" +
			"In USDC. `cpucloud bill` tells what becomes of it.",
		Example: session.Lines("cpucloud account", "cpucloud account -o json | jq -r .balance"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			a, err := cloud.Account(cmd.Context())
			if err != nil {
				return err
			}
			var t session.Table
			t.Add("id:", a.ID)
			t.Add("name:", a.Name)
			t.Add("balance:", a.Balance)
			t.Add("reserved:", a.Reserved)
			t.Add("spent:", a.Spent)
			return s.Print(a, t)
		},
	}
	cmd.AddCommand(limits(s), keys(s))
	return cmd
}
