// Package admin holds the operator's commands.
package admin

import (
	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// Command is the noun admin.
func Command(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{
		Use:   "admin",
		Short: "Accounts, balances, withdrawals, join tokens and the clock",
		Long:  "Commands of the marketplace's operator. They need $CPUCLOUD_ADMIN_KEY or the admin.env of the data folder.",
	}, accounts(s), balance(s), withdrawal(s), token(s), clock(s), fsck(s), simulate(s))
}
