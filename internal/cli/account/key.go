package account

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func keys(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{
		Use:     "key",
		Aliases: []string{"api-key"},
		Short:   "API keys of your account",
		Long: "API keys of your account. One may do all that the account may, within limits of its own; limits and keys\n" +
			"are managed with a key that has none. A key is named by its name or its id.",
	}, listKeys(s), createKey(s), limitKey(s), revokeKey(s))
}

func listKeys(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List your API keys with what they may spend",
		Example: session.Lines("cpucloud account key list", "cpucloud account key list -o json | jq -r '.[] | [.id, .name, .perDay.used] | @tsv'"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			all, err := cloud.APIKeys(cmd.Context())
			if err != nil {
				return err
			}
			return s.Print(all, keyTable(all...))
		},
	}
}

func keyTable(all ...client.APIKey) session.Table {
	t := session.Table{Header: append([]string{"id", "role", "created"}, append([]string{"name"}, session.LimitsHeader()[1:]...)...)}
	for _, k := range all {
		t.Add(append([]string{k.ID, k.Role, k.CreatedAt.UTC().Format(time.DateTime)}, session.LimitsRow(k.Name, k.Allowance)...)...)
	}
	return t
}

// find returns the key that a word names, by id or name.
func find(ctx context.Context, cloud *client.Client, word string) (found client.APIKey, err error) {
	all, err := cloud.APIKeys(ctx)
	if err != nil {
		return found, err
	}
	n := 0
	for _, k := range all {
		if k.ID == word {
			return k, nil
		}
		if k.Name == word {
			found = k
			n++
		}
	}
	switch n {
	case 0:
		return found, fault.Newf(fault.NotFound, "no API key %q: `cpucloud account key list` shows yours", word)
	case 1:
		return found, nil
	}
	return found, fault.Newf(fault.Invalid, "%d API keys are called %q, give the id: `cpucloud account key list` shows it", n, word)
}

// keyNames completes what a key can be called.
func keyNames(s *session.Session) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return s.Complete(func(ctx context.Context, cloud *client.Client) ([]string, error) {
			all, err := cloud.APIKeys(ctx)
			words := make([]string, len(all))
			for i, k := range all {
				words[i] = k.Name
			}
			return words, err
		})(cmd, args, toComplete)
	}
}
