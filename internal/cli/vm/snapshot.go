package vm

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// snapshot is the noun of copies of disks.
func snapshot(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{
		Use:   "snapshot",
		Short: "Snapshots of virtual machines",
		Long: "A snapshot is a copy of a virtual machine's disk as it was at one moment, kept on its server for as long as\n" +
			"the virtual machine is there. A snapshot is named by its id, or by its name where no other one is called so.",
	}, createSnapshot(s), listSnapshots(s), restoreSnapshot(s), deleteSnapshot(s), exportSnapshot(s), schedule(s))
}

func createSnapshot(s *session.Session) *cobra.Command {
	name := ""
	return act{
		verb: "create", noun: "snapshot ", short: "Take a snapshot of a virtual machine",
		long: "Copy the disk of a virtual machine as it is now, while it runs on. Where its guest has the QEMU guest agent the\n" +
			"file systems are brought into order for that moment; else the copy is as after a power cut. What it takes of\n" +
			"its server's storage is paid at the price of the virtual machine's own.",
		examples: []string{"cpucloud vm snapshot create web --name before-upgrade --wait", "cpucloud vm snapshot create web"},
		do: func(c *client.Client, ctx context.Context, id, requestID string) (client.Operation, error) {
			return c.TakeSnapshot(ctx, id, name, requestID)
		},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&name, "name", "", "what it is called (default the moment)")
		},
	}.command(s)
}

func restoreSnapshot(s *session.Session) *cobra.Command {
	var from client.Snapshot
	return act{
		verb: "restore", operands: " SNAPSHOT", short: "Restore a virtual machine from a snapshot",
		long: "Start a virtual machine on a disk as in one of its snapshots, or in an export by its id. Its guest is asked to power itself off before.\n" +
			"The disk that it has is kept for a time: `cpucloud vm disks` tells until when, and `cpucloud vm return-disk`\n" +
			"brings it back.",
		examples: []string{"cpucloud vm snapshot restore web before-upgrade --wait", "cpucloud vm snapshot restore web exp_06h8k3a1r4c1r7f3m5t9d0b2ng"},
		prepare: func(ctx context.Context, cloud *client.Client, args []string) error {
			if strings.HasPrefix(args[1], "exp_") {
				from.ID = args[1] // of an export, which need not be of this virtual machine
				return nil
			}
			list, err := snapshotsOf(ctx, cloud, args[:1])
			if err == nil {
				from, err = pickSnapshot(list, args[1])
			}
			return err
		},
		do: func(c *client.Client, ctx context.Context, id, requestID string) (client.Operation, error) {
			return c.RestoreVM(ctx, id, from.ID, requestID)
		},
	}.command(s)
}

func listSnapshots(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use: "list [NAME|ID]", Aliases: []string{"ls"}, Short: "List snapshots",
		Long: "List the snapshots of a virtual machine, oldest first, or those of all, newest first.",
		Example: session.Lines("cpucloud vm snapshot list web", "cpucloud vm snapshot list",
			"cpucloud vm snapshot list web -o json | jq -r '.[-1].id'"),
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: only(Names(s)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			list, err := snapshotsOf(cmd.Context(), cloud, args)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				s.Notef("No snapshots. Take one with `cpucloud vm snapshot create NAME`.")
			}
			t := session.Table{Header: []string{"id", "name", "vm", "state", "taken", "consistency", "size"}}
			for _, one := range list {
				t.Add(one.ID, one.Name, one.VMID, stateOf(one), takenAt(one), one.Consistency, fmt.Sprintf("%d MiB", one.Bytes>>20))
			}
			return s.Print(list, t)
		},
	}
}

// snapshotsOf returns the snapshots of the VM that args name, or all.
func snapshotsOf(ctx context.Context, cloud *client.Client, args []string) ([]client.Snapshot, error) {
	if len(args) == 0 {
		return cloud.AllSnapshots(ctx)
	}
	v, err := Find(ctx, cloud, args[0])
	if err != nil {
		return nil, err
	}
	return cloud.Snapshots(ctx, v.ID)
}

func stateOf(one client.Snapshot) string {
	switch {
	case one.State == client.SnapshotMaking:
		return fmt.Sprintf("%s %d %%", one.State, one.Percent)
	case one.Reason != nil:
		return one.State + ": " + *one.Reason
	case one.Scheduled:
		return one.State + ", scheduled"
	}
	return one.State
}

func takenAt(one client.Snapshot) string {
	if one.TakenAt == nil {
		return ""
	}
	return when(*one.TakenAt)
}

func deleteSnapshot(s *session.Session) *cobra.Command {
	var dry session.DryRun
	cmd := &cobra.Command{
		Use: "delete SNAPSHOT...", Aliases: []string{"rm"}, Short: "Delete snapshots",
		Long:              "Delete snapshots. Virtual machines and disks that were made of them stay as they are.",
		Example:           session.Lines("cpucloud vm snapshot delete snap_06h8k2v0q4c1r7f3m5t9d0b2ng", "cpucloud vm snapshot delete before-upgrade --dry-run"),
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: s.Complete(availableSnapshots),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			all, err := cloud.AllSnapshots(cmd.Context())
			if err != nil {
				return err
			}
			var gone []client.Snapshot
			for _, word := range args {
				one, err := pickSnapshot(all, word)
				if err != nil {
					return err
				}
				gone = append(gone, one)
			}
			t := session.Table{Header: []string{"deleted", "name"}}
			for _, one := range gone {
				if err := dry.Of(cloud).DeleteSnapshot(cmd.Context(), one.ID); err != nil {
					return err
				}
				t.Add(one.ID, one.Name)
			}
			dry.Note(s)
			return s.Print(gone, t)
		},
	}
	dry.Bind(cmd)
	return cmd
}

// pickSnapshot returns the one of all that a word names.
func pickSnapshot(all []client.Snapshot, word string) (client.Snapshot, error) {
	var named []client.Snapshot
	for _, one := range all {
		if one.ID == word {
			return one, nil
		}
		if one.Name == word {
			named = append(named, one)
		}
	}
	switch len(named) {
	case 0:
		return client.Snapshot{}, fault.Newf(fault.NotFound, "no snapshot %q: `cpucloud vm snapshot list` shows yours", word)
	case 1:
		return named[0], nil
	}
	ids := make([]string, len(named))
	for i, one := range named {
		ids[i] = session.Clean(one.ID)
	}
	return client.Snapshot{}, fault.Newf(fault.Invalid, "%d snapshots are called %q; give the id of one: %s", len(named), word, strings.Join(ids, ", "))
}

// availableSnapshots completes the ids of snapshots.
func availableSnapshots(ctx context.Context, cloud *client.Client) ([]string, error) {
	all, err := cloud.AllSnapshots(ctx)
	var ids []string
	for _, one := range all {
		if one.State == client.SnapshotAvailable {
			ids = append(ids, one.ID)
		}
	}
	return ids, err
}

// timing is what the flags of schedule say.
type timing struct {
	every time.Duration
	keep  int64
	at    string
	none  bool
	dry   session.DryRun
}

func schedule(s *session.Session) *cobra.Command {
	var t timing
	cmd := &cobra.Command{
		Use: "schedule NAME|ID", Short: "Have snapshots taken on schedule",
		Long: "Have a snapshot of a virtual machine taken every so often, and only so many of those kept. Others are never\n" +
			"deleted by it. Without flags it tells the schedule.",
		Example: session.Lines("cpucloud vm snapshot schedule web --every 24h --keep 7 --at 2026-02-01T03:00:00Z",
			"cpucloud vm snapshot schedule web", "cpucloud vm snapshot schedule web --none"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: only(Names(s)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			v, err := Find(cmd.Context(), cloud, args[0])
			if err != nil {
				return err
			}
			return t.run(cmd.Context(), s, cloud, v)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&t.every, "every", 0, "how often, such as 6h or 24h")
	f.Int64Var(&t.keep, "keep", 7, "how many are kept")
	f.StringVar(&t.at, "at", "", "when the first one is due, such as 2026-02-01T03:00:00Z (default after --every)")
	f.BoolVar(&t.none, "none", false, "end the schedule; the snapshots stay")
	cmd.MarkFlagsMutuallyExclusive("every", "none")
	t.dry.Bind(cmd)
	return cmd
}

func (t *timing) run(ctx context.Context, s *session.Session, cloud *client.Client, v client.VM) error {
	var plan client.Schedule
	var err error
	switch {
	case t.none:
		if err := t.dry.Of(cloud).DeleteSchedule(ctx, v.ID); err != nil {
			return err
		}
		t.dry.Note(s)
		s.Notef("no more snapshots of %s are taken on schedule; those that there are stay", session.Clean(v.Name))
		return nil
	case t.every > 0:
		wanted := client.Schedule{Every: t.every.String(), Keep: t.keep}
		if t.at != "" {
			first, err := time.Parse(time.RFC3339, t.at)
			if err != nil {
				return fault.Newf(fault.Invalid, "--at %q is not a time such as 2026-02-01T03:00:00Z", t.at)
			}
			wanted.At = &first
		}
		plan, err = t.dry.Of(cloud).SetSchedule(ctx, v.ID, wanted)
		t.dry.Note(s)
	default:
		plan, err = cloud.Schedule(ctx, v.ID)
	}
	if err != nil {
		return err
	}
	var out session.Table
	out.Add("vm:", v.Name)
	out.Add("every:", plan.Every)
	out.Add("keep:", fmt.Sprint(plan.Keep))
	out.Add("next:", when(plan.NextAt))
	if plan.LeftOut != nil {
		out.Add("last one left out:", *plan.LeftOut)
	}
	return s.Print(plan, out)
}
