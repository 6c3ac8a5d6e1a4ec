package provider

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func create(s *session.Session) *cobra.Command {
	var dry session.DryRun
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a provider that acts for your account",
		Long:  "Create a provider that acts for your account. Customers see its name; what it earns is yours.",
		Example: session.Lines(
			"cpucloud provider create 'Example Hosting'",
			"cpucloud provider create example -o json | jq -r .id",
			"cpucloud provider create example --dry-run",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			p, err := dry.Of(cloud).CreateProvider(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var t session.Table
			if dry {
				dry.Note(s)
				t.Add("name:", p.Name)
				return s.Print(p, t)
			}
			s.Notef("Next, say in offers.yaml what it sells, and apply that: `cpucloud provider apply --help` shows how.")
			t.Add("id:", p.ID)
			t.Add("name:", p.Name)
			return s.Print(p, t)
		},
	}
	dry.Bind(cmd)
	return cmd
}

func list(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List your providers",
		Example: session.Lines("cpucloud provider list", "cpucloud provider list -o json | jq -r '.[].name'"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			all, err := cloud.Providers(cmd.Context())
			if err != nil {
				return err
			}
			if len(all) == 0 {
				s.Notef("No providers. Create one with `cpucloud provider create NAME`.")
			}
			t := session.Table{Header: []string{"id", "name", "servers", "pending", "earned", "created"}}
			for _, p := range all {
				t.Add(p.ID, p.Name, fmt.Sprint(p.Servers), p.Pending, p.Earned, when(p.CreatedAt))
			}
			return s.Print(all, t)
		},
	}
}
