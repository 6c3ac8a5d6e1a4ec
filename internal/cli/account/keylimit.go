package account

import (
	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func limitKey(s *session.Session) *cobra.Command {
	var flags session.LimitFlags
	var dry session.DryRun
	cmd := &cobra.Command{
		Use:   "limit NAME|ID",
		Short: "Set the limits of an API key",
		Long:  "Set the limits of an API key, in USDC; `none` lifts one, and those that are left out stay. What it deployed runs on.",
		Example: session.Lines(
			"cpucloud account key limit ci --per-day 10",
			"cpucloud account key limit ci --per-day none --running 3",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: keyNames(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.Given(); err != nil {
				return err
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			k, err := find(cmd.Context(), cloud, args[0])
			if err != nil {
				return err
			}
			l, err := flags.Over(k.OwnLimits())
			if err != nil {
				return err
			}
			if k, err = dry.Of(cloud).SetAPIKeyLimits(cmd.Context(), k.ID, l); err != nil {
				return err
			}
			dry.Note(s)
			return s.Print(k, keyTable(k))
		},
	}
	flags.Bind(cmd)
	dry.Bind(cmd)
	return cmd
}
