package account

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func limitKey(s *session.Session) *cobra.Command {
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
	}
	id := ""
	return session.SetLimits(s, cmd, s.Cloud,
		func(ctx context.Context, cloud *client.Client, args []string) (client.Limits, error) {
			k, err := find(ctx, cloud, args[0])
			id = k.ID
			return k.OwnLimits(), err
		},
		func(ctx context.Context, cloud *client.Client, _ []string, l client.Limits) (client.APIKey, error) {
			return cloud.SetAPIKeyLimits(ctx, id, l)
		},
		func(k client.APIKey, _ []string) error { return s.Print(k, keyTable(k)) },
	)
}
