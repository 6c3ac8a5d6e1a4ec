package account

import (
	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func createKey(s *session.Session) *cobra.Command {
	var flags session.LimitFlags
	var dry session.DryRun
	role := ""
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an API key, perhaps with limits",
		Long: "Create an API key of your account, perhaps with limits in USDC. It is shown this once; the cloud keeps only\n" +
			"its hash. With a key that has limits neither limits nor keys can be changed.",
		Example: session.Lines(
			"cpucloud account key create ci --per-day 5 --running 2",
			"cpucloud account key create laptop -o json | jq -r .apiKey",
			"cpucloud account key create ci --per-month 50 --dry-run",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := flags.Over(client.Limits{})
			if err != nil {
				return err
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			k, err := dry.Of(cloud).CreateAPIKey(cmd.Context(), args[0], role, l)
			if err != nil {
				return err
			}
			dry.Note(s)
			if dry {
				return s.Print(k, keyTable(k.APIKey))
			}
			var t session.Table
			t.Add("id:", k.ID)
			t.Add("name:", k.Name)
			t.Add("api-key:", k.Secret)
			return s.Print(k, t)
		},
	}
	flags.Bind(cmd)
	dry.Bind(cmd)
	cmd.Flags().StringVar(&role, "role", "", "what the key may do: customer or operator (default customer)")
	session.CompleteFlag(cmd, "role", session.Words("customer", "operator"))
	return cmd
}
