package vm

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// exportTimeout is how long an export is waited for unless told.
const exportTimeout = 2 * time.Hour

// exports is the noun export below vm.
func exports(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{
		Use:   "export",
		Short: "Snapshots that are kept outside of every server",
		Long: "An export is a snapshot in the operator's store: it outlives the virtual machine and its server, and\n" +
			"virtual machines can be made of it anywhere. Make one with `cpucloud vm snapshot export`.",
	}, listExports(s), showExport(s), deleteExport(s))
}

// exportSnapshot is the verb export of snapshots.
func exportSnapshot(s *session.Session) *cobra.Command {
	wait, timeout, request := false, exportTimeout, ""
	var dry session.DryRun
	cmd := &cobra.Command{
		Use: "export SNAPSHOT", Short: "Keep a snapshot outside of its server",
		Long: "Have a snapshot's server store it in the operator's store, compressed and encrypted. The virtual machine\n" +
			"runs on. The export outlives the snapshot, the virtual machine and its server: `cpucloud vm create\n" +
			"--export` makes another of it on any server.\n\nWith --wait the exit code is 3 when it failed, or time is up before.",
		Example: session.Lines(
			"cpucloud vm snapshot export snap_06h8k2v0q4c1r7f3m5t9d0b2ng --wait",
			"cpucloud vm snapshot export before-upgrade --request-id monday -o json | jq -r .id",
		),
		Args: cobra.ExactArgs(1), ValidArgsFunction: only(s.Complete(availableSnapshots)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			all, err := cloud.AllSnapshots(cmd.Context())
			if err != nil {
				return err
			}
			one, err := pickSnapshot(all, args[0])
			if err != nil {
				return err
			}
			if request == "" {
				if request, err = s.NewRequestID(); err != nil {
					return err
				}
			}
			e, err := dry.Of(cloud).ExportSnapshot(cmd.Context(), one.ID, request)
			if err != nil {
				return err
			}
			dry.Note(s)
			if wait && !bool(dry) {
				if e, err = exportEnded(cmd.Context(), s, cloud, e, timeout); err != nil {
					return err
				}
			}
			return printExport(s, e)
		},
	}
	dry.Bind(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is done")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait")
	cmd.Flags().StringVar(&request, "request-id", "", "makes the request safe to repeat (default a new one)")
	return cmd
}

// exportEnded returns an export that is done.
func exportEnded(ctx context.Context, s *session.Session, cloud *client.Client, e client.Export, timeout time.Duration) (client.Export, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	now, err := cloud.WaitExport(limited, e.ID, func(e client.Export) { s.Notef("%s", exportProgress(e)) })
	switch {
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		return now, failed("export %s goes on after %s: `cpucloud vm export show %s` tells how far it is", e.ID, timeout, e.ID)
	case err != nil:
		return now, err
	case now.State != client.ExportDone && now.Reason != nil:
		return now, failed("export %s is %s: %s", e.ID, now.State, *now.Reason)
	case now.State != client.ExportDone:
		return now, failed("export %s is %s", e.ID, now.State)
	}
	return now, nil
}

// exportProgress says how far an export is.
func exportProgress(e client.Export) string {
	text := fmt.Sprintf("%d of %d MiB", e.BytesDone>>20, e.Bytes>>20)
	if e.Reason != nil {
		text += ": " + *e.Reason
	}
	return text
}

func printExport(s *session.Session, e client.Export) error {
	var t session.Table
	t.Add("export:", e.ID)
	t.Add("snapshot:", e.SnapshotID)
	t.Add("vm:", e.VMName)
	t.Add("state:", e.State)
	t.Add("disk:", fmt.Sprintf("%d GiB", e.StorageGiB))
	if e.State == client.ExportDone {
		t.Add("stored:", fmt.Sprintf("%d MiB", e.BytesStored>>20))
	} else {
		t.Add("done:", exportProgress(e))
	}
	return s.Print(e, t)
}

func listExports(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List your exports",
		Example: session.Lines("cpucloud vm export list", "cpucloud vm export list -o json | jq -r '.exports[] | select(.state == \"done\") | .id'"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			list, err := cloud.Exports(cmd.Context())
			if err != nil {
				return err
			}
			t := session.Table{Header: []string{"id", "vm", "state", "disk", "stored", "begun"}}
			for _, e := range list.Exports {
				t.Add(e.ID, e.VMName, e.State, fmt.Sprintf("%d GiB", e.StorageGiB), fmt.Sprintf("%d MiB", e.BytesStored>>20), when(e.StartedAt))
			}
			s.Notef("%d of %d exports, %d of %d GiB", list.Used.Exports, list.Limits.Exports, (list.Used.Bytes+1<<30-1)>>30, list.Limits.Bytes>>30)
			return s.Print(list, t)
		},
	}
}

func showExport(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show an export",
		Example: session.Lines("cpucloud vm export show exp_06h8k3a1r4c1r7f3m5t9d0b2ng", "cpucloud vm export show exp_06h8k3a1r4c1r7f3m5t9d0b2ng -o json | jq -r .state"),
		Args:    cobra.ExactArgs(1), ValidArgsFunction: only(exportIDs(s)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			e, err := cloud.Export(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return printExport(s, e)
		},
	}
}

func deleteExport(s *session.Session) *cobra.Command {
	var dry session.DryRun
	var yes bool
	cmd := &cobra.Command{
		Use: "delete ID", Aliases: []string{"rm"}, Short: "Delete an export, for good",
		Long: "Delete an export. No virtual machine can be made of it from now on, and there is no way back: its key is\n" +
			"forgotten with it.",
		Example: session.Lines("cpucloud vm export delete exp_06h8k3a1r4c1r7f3m5t9d0b2ng", "cpucloud vm export delete exp_06h8k3a1r4c1r7f3m5t9d0b2ng --dry-run"),
		Args:    cobra.ExactArgs(1), ValidArgsFunction: only(exportIDs(s)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			if !yes && !bool(dry) {
				if yes, err = s.Confirm(fmt.Sprintf("Delete export %s for good?", args[0]), "--yes"); err != nil || !yes {
					return err
				}
			}
			e, err := dry.Of(cloud).DeleteExport(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			dry.Note(s)
			return printExport(s, e)
		},
	}
	dry.Bind(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// exportIDs completes the ids of exports.
func exportIDs(s *session.Session) cobra.CompletionFunc { return s.Complete(exportWords) }

func exportWords(ctx context.Context, cloud *client.Client) ([]string, error) {
	list, err := cloud.Exports(ctx)
	ids := make([]string, len(list.Exports))
	for i, e := range list.Exports {
		ids[i] = e.ID
	}
	return ids, err
}
