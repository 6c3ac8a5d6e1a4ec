package vm

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func protect(s *session.Session) *cobra.Command {
	return protection(s, "protect", "Keep virtual machines from being deleted",
		"Keep virtual machines from being deleted, until `cpucloud vm unprotect`. What becomes of one that is not\n"+
			"paid, or that its provider ends, stays as it is.", "protected", (*client.Client).ProtectVM)
}

func unprotect(s *session.Session) *cobra.Command {
	return protection(s, "unprotect", "Let virtual machines be deleted again",
		"Let virtual machines be deleted again. They run on.", "unprotected", (*client.Client).UnprotectVM)
}

func protection(s *session.Session, verb, short, long, done string, do func(*client.Client, context.Context, string) error) *cobra.Command {
	var dry session.DryRun
	var target target
	cmd := &cobra.Command{
		Use: verb + " NAME|ID...", Short: short, Long: long + "\n\n" + chosenBy,
		Example:           session.Lines("cpucloud vm "+verb+" db", "cpucloud vm "+verb+" db web --dry-run", "cpucloud vm "+verb+" -l env=prod"),
		Args:              target.args,
		ValidArgsFunction: Names(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			vms, err := target.find(cmd.Context(), cloud, args)
			if err != nil {
				return err
			}
			if ok, err := target.agree(s, strings.ToUpper(verb[:1])+verb[1:], vms, dry); err != nil || !ok {
				return err
			}
			t := session.Table{Header: []string{done, "name"}}
			for _, v := range vms {
				if err := do(dry.Of(cloud), cmd.Context(), v.ID); err != nil {
					return err
				}
				t.Add(v.ID, v.Name)
			}
			dry.Note(s)
			return s.Print(vms, t)
		},
	}
	dry.Bind(cmd)
	target.bind(cmd)
	return cmd
}
