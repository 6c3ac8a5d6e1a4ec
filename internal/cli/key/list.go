package key

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func list(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List your SSH keys",
		Example: session.Lines("cpucloud key list", "cpucloud key list -o json | jq -r '.[].fingerprint'"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			keys, err := cloud.SSHKeys(cmd.Context())
			if err != nil {
				return err
			}
			if len(keys) == 0 {
				s.Notef("No keys yet. Register one with `cpucloud key add FILE`.")
			}
			return s.Print(identified(keys...), table(keys...))
		},
	}
}

// key is an SSH key whose id is its fingerprint.
type key struct {
	ID string `json:"id"`
	client.SSHKey
}

func identified(keys ...client.SSHKey) []key {
	list := make([]key, len(keys))
	for i, k := range keys {
		list[i] = key{k.Fingerprint, k}
	}
	return list
}

func table(keys ...client.SSHKey) session.Table {
	t := session.Table{Header: []string{"name", "fingerprint", "algorithm", "comment", "created"}}
	for _, k := range keys {
		t.Add(nameOf(k), k.Fingerprint, k.Algorithm, k.Comment, k.CreatedAt.UTC().Format(time.DateTime))
	}
	return t
}
