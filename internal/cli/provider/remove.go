package provider

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// removal is how a server is taken out.
type removal struct {
	lost   bool
	reason string
	yes    bool
	dry    session.DryRun
}

func removeServer(s *session.Session) *cobra.Command {
	var r removal
	cmd := verb(s, &cobra.Command{
		Use:     "remove NAME|ID",
		Aliases: []string{"rm"},
		Short:   "Take an empty or lost server out of the marketplace",
		Long: "Take an empty server out of the marketplace for good; to come back it joins anew. Drain it first.\n" +
			"With --lost, one that is unreachable and will never come back is taken out with all that is on it: its\n" +
			"VMs are ended, their disks are lost, and customers get the rest of the epoch back. Asks first then,\n" +
			"unless --yes is given.",
		Example: session.Lines(
			"cpucloud provider server remove rack1",
			"cpucloud provider server remove rack1 --lost --reason 'it burnt down'",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: servers(s),
	}, func(ctx context.Context, at seat, args []string) error {
		at.cloud, at.dry = r.dry.Of(at.cloud), r.dry
		if r.lost {
			return r.writeOff(ctx, at, args[0])
		}
		if r.reason != "" {
			return fault.New(fault.Invalid, "--reason is for a server that is lost: give --lost, too")
		}
		v, err := at.cloud.RemoveServer(ctx, at.provider, args[0])
		if err != nil {
			return err
		}
		return told(at, v, args[0], "{server} is out of the marketplace. Its agent may be stopped.")
	})
	r.dry.Bind(cmd)
	cmd.Flags().BoolVar(&r.lost, "lost", false, "the machine is gone for good: end what is on it")
	cmd.Flags().StringVar(&r.reason, "reason", "", "what the customers of a lost server are told")
	cmd.Flags().BoolVarP(&r.yes, "yes", "y", false, "do not ask")
	session.CompleteFlag(cmd, "reason", cobra.NoFileCompletions)
	return cmd
}

// writeOff removes a lost server, after its provider has seen how much is on it.
func (r removal) writeOff(ctx context.Context, at seat, name string) error {
	if !r.yes && !bool(r.dry) {
		v, err := at.cloud.Server(ctx, at.provider, name)
		if err != nil {
			return err
		}
		question := fmt.Sprintf("Remove server %s as lost, and end %s with all data?", cmp.Or(v.Name, v.ID), count(v.VMs, "VM"))
		if yes, err := at.Confirm(question, "--yes"); err != nil || !yes {
			return err
		}
	}
	v, err := at.cloud.RemoveLostServer(ctx, at.provider, name, r.reason)
	if err != nil {
		return err
	}
	return told(at, v, name, "{server} is out of the marketplace, and its VMs have ended; customers are told. Should its machine come back, its agent is refused.")
}
