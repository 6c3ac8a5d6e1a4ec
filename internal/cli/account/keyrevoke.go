package account

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func revokeKey(s *session.Session) *cobra.Command {
	var dry session.DryRun
	yes := false
	cmd := &cobra.Command{
		Use:   "revoke NAME|ID",
		Short: "Make an API key good for nothing",
		Long: "Make an API key good for nothing: within seconds on all servers. What it deployed runs on. The last key\n" +
			"without limits can't be revoked. Asks first, unless --yes is given.",
		Example:           session.Lines("cpucloud account key revoke ci", "cpucloud account key revoke key_06abk5 --yes"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: keyNames(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			k, err := find(cmd.Context(), cloud, args[0])
			if err != nil {
				return err
			}
			question := fmt.Sprintf("Revoke API key %s (%s)?", k.Name, k.ID)
			if k.Current {
				question = fmt.Sprintf("Revoke API key %s (%s), which this command uses itself?", k.Name, k.ID)
			}
			if !yes && !bool(dry) {
				if yes, err = s.Confirm(question, "--yes"); err != nil || !yes {
					return err
				}
			}
			if err := dry.Of(cloud).RevokeAPIKey(cmd.Context(), k.ID); err != nil {
				return err
			}
			if dry {
				s.Notef("Dry run: nothing was changed. API key %s (%s) would be revoked.", k.Name, k.ID)
				return nil
			}
			s.Notef("Revoked API key %s (%s).", k.Name, k.ID)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	dry.Bind(cmd)
	return cmd
}
