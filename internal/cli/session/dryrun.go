package session

import (
	"time"

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

// PrintUntil prints a token that a dry run did not make: how long it would be good.
func PrintUntil(s *Session, token any, until time.Time) error {
	var t Table
	t.Add("good until:", until.UTC().Format(time.DateTime)+" UTC")
	return s.Print(token, t)
}
