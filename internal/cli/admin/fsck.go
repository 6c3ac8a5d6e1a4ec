package admin

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func fsck(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:   "fsck",
		Short: "Check that all that is stored fits together",
		Long: "Go through the whole ledger again and compare balances with entries, reserves and charges with VMs, and\n" +
			"capacity with VMs and quotes, and VMs with what agents reported last. Nothing is changed. The exit code is 1 when something does not fit.",
		Example:           session.Lines("cpucloud admin fsck", "cpucloud admin fsck -o json | jq -r '.discrepancies[].subject'"),
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, err := s.Admin()
			if err != nil {
				return err
			}
			found, err := cloud.Fsck(cmd.Context())
			if err != nil {
				return err
			}
			var t session.Table
			if !found.Sound {
				t.Header = []string{"subject", "what is wrong", "what to do"}
			}
			for _, d := range found.Discrepancies {
				t.Add(d.Subject, d.Text, d.Repair)
			}
			if found.Sound {
				t.Add(fmt.Sprintf("all is well: %d entries, %d VMs, %d servers", found.Entries, found.VMs, found.Servers))
			}
			if err := s.Print(found, t); err != nil || found.Sound {
				return err
			}
			return &session.ExitError{Code: session.CodeError}
		},
	}
}
