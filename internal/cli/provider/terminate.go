package provider

import (
	"context"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func terminate(s *session.Session) *cobra.Command {
	reason, yes := "", false
	var dry session.DryRun
	cmd := verb(s, &cobra.Command{
		Use:   "terminate VM",
		Short: "End a customer's VM on one of your servers",
		Long: "End a customer's VM on one of your servers, with its disk. Its customer is told the reason and gets the\n" +
			"rest of the epoch back. To empty a whole server, drain it. Asks first, unless --yes is given.",
		Example: session.Lines(
			"cpucloud provider terminate 0x52908400098527886E0F7030069857D2E4169EE7 --reason 'sends spam'",
			"cpucloud provider terminate 0x52908400098527886E0F7030069857D2E4169EE7 --reason 'failing disk' --dry-run",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(ctx context.Context, at seat, args []string) error {
		if reason == "" {
			return fault.New(fault.Invalid, "its customer has to be told why: give --reason")
		}
		if !yes && !bool(dry) {
			var err error
			if yes, err = at.Confirm(fmt.Sprintf("End VM %s and its disk, and tell its customer %q?", args[0], reason), "--yes"); err != nil || !yes {
				return err
			}
		}
		v, err := dry.Of(at.cloud).TerminateVM(ctx, at.provider, args[0], reason)
		if client.StatusOf(err) == http.StatusNotFound {
			return fault.Newf(fault.NotFound, "no VM %q on a server of %s: `cpucloud provider server show NAME` lists them", args[0], session.Clean(at.provider))
		}
		if err != nil {
			return err
		}
		dry.Note(s)
		var t session.Table
		t.Add("id:", v.ID)
		t.Add("status:", v.Status)
		t.Add("returned:", v.Returned+" USDC")
		return at.Print(v, t)
	})
	dry.Bind(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "what its customer is told")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	session.CompleteFlag(cmd, "reason", cobra.NoFileCompletions)
	return cmd
}
