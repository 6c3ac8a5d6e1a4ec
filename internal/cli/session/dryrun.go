package session

import (
	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
)

// DryRun is the flag --dry-run of a command.
type DryRun bool

// Bind gives cmd the flag.
func (d *DryRun) Bind(cmd *cobra.Command) {
	cmd.Flags().BoolVar((*bool)(d), "dry-run", false, "check everything and tell what would be, and change nothing")
}

// Of returns the cloud to ask: one that changes nothing where that is wanted.
func (d DryRun) Of(cloud *client.Client) *client.Client {
	if d {
		return cloud.DryRun()
	}
	return cloud
}

// Note says plainly that nothing was changed, where that is so.
func (d DryRun) Note(s *Session) {
	if d {
		s.Notef("Dry run: nothing was changed. This is what would be.")
	}
}
