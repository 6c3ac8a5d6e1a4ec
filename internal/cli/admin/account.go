package admin

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func accounts(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{Use: "account", Short: "Accounts of customers and providers"},
		createAccount(s), listAccounts(s), limits(s))
}

func createAccount(s *session.Session) *cobra.Command {
	role := ""
	var dry session.DryRun
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an account and its first API key",
		Long:  "Create an account and its first API key. The key is shown this once; the cloud keeps only its hash.",
		Example: session.Lines(
			"cpucloud admin account create alice",
			"cpucloud admin account create ops --role operator",
			"cpucloud admin account create alice -o json | jq -r .apiKey",
			"cpucloud admin account create alice --dry-run",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Admin()
			if err != nil {
				return err
			}
			a, err := dry.Of(cloud).CreateAccount(cmd.Context(), args[0], role)
			if err != nil {
				return err
			}
			dry.Note(s)
			var t session.Table
			if dry {
				t.Add("name:", a.Name)
				return s.Print(a, t)
			}
			t.Add("id:", a.ID)
			t.Add("api-key:", a.APIKey)
			return s.Print(a, t)
		},
	}
	dry.Bind(cmd)
	cmd.Flags().StringVar(&role, "role", "", "what the key may do: customer or operator (default customer)")
	session.CompleteFlag(cmd, "role", session.Words("customer", "operator"))
	return cmd
}

func listAccounts(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List all accounts with their money",
		Example: session.Lines("cpucloud admin account list", "cpucloud admin account list -o json | jq -r '.[].id'"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, err := s.Admin()
			if err != nil {
				return err
			}
			all, err := cloud.Accounts(cmd.Context())
			if err != nil {
				return err
			}
			t := session.Table{Header: []string{"id", "name", "balance", "reserved", "spent", "created"}}
			for _, a := range all {
				t.Add(a.ID, a.Name, a.Balance, a.Reserved, a.Spent, a.CreatedAt.UTC().Format(time.DateTime))
			}
			return s.Print(all, t)
		},
	}
}

// ids completes the ids of accounts.
func ids(s *session.Session) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return session.CompleteWith(s.Admin, func(ctx context.Context, cloud *client.Client) ([]string, error) {
			all, err := cloud.Accounts(ctx)
			words := make([]string, len(all))
			for i, a := range all {
				words[i] = a.ID
			}
			return words, err
		})(cmd, args, toComplete)
	}
}
