package vm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func remove(s *session.Session) *cobra.Command {
	purge := false
	var target target
	var dry session.DryRun
	cmd := &cobra.Command{
		Use:     "delete NAME|ID...",
		Aliases: []string{"rm"},
		Short:   "Delete virtual machines and their disks",
		Long: "Delete virtual machines and their disks, all of them or none. What their reserves hold goes back\n" +
			"to the balance; the epoch that has begun is not refunded. For a while, a day unless the operator says otherwise,\n" +
			"`cpucloud vm undelete` brings them back, unless they are purged. Asks first, unless --yes is given.\n\n" +
			"With -l it is for all virtual machines whose labels are so, such as env=prod,tier!=web,owner,!temp.",
		Example: session.Lines(
			"cpucloud vm delete web --dry-run",
			"cpucloud vm delete web db 0x1f9a --yes",
			"cpucloud vm delete -l env=test,!keep --purge",
			"cpucloud vm list --status Failed -o json | jq -r '.[].id' | xargs cpucloud vm delete --yes",
		),
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
			if !target.yes && !bool(dry) {
				if yes, err := s.Confirm(question(vms, purge), "--yes"); err != nil || !yes {
					return err
				}
			}
			ids := make([]string, len(vms))
			for i, v := range vms {
				ids[i] = v.ID
			}
			if _, err := dry.Of(cloud).DeleteVMs(cmd.Context(), ids...); err != nil {
				return err
			}
			dry.Note(s)
			if bool(dry) {
				return printDeleted(s, vms)
			}
			if purge {
				for _, v := range vms {
					if _, err := cloud.DeleteVM(cmd.Context(), v.ID, true); err != nil {
						return err
					}
				}
			} else if err := tellKept(cmd.Context(), s, cloud, ids); err != nil {
				return err
			}
			return printDeleted(s, vms)
		},
	}
	dry.Bind(cmd)
	target.bind(cmd)
	cmd.Flags().BoolVar(&purge, "purge", false, "purge their disks at once: they can't be undeleted")
	return cmd
}

// tellKept says until when the VMs can be undeleted that were deleted.
func tellKept(ctx context.Context, s *session.Session, cloud *client.Client, ids []string) error {
	kept, err := cloud.DeletedVMs(ctx)
	if err != nil {
		return err
	}
	for _, v := range kept {
		if slices.Contains(ids, v.ID) && v.KeptUntil != nil {
			s.Notef("%s can be brought back until %s UTC: cpucloud vm undelete %s", v.Name, when(*v.KeptUntil), v.ID)
		}
	}
	return nil
}

func question(vms []client.VM, purge bool) string {
	what := "Delete"
	if purge {
		what = "Delete for good"
	}
	if len(vms) == 1 {
		return fmt.Sprintf("%s VM %s (%s) and its disk?", what, vms[0].Name, vms[0].ID)
	}
	names := make([]string, len(vms))
	for i, v := range vms {
		names[i] = v.Name
	}
	return fmt.Sprintf("%s %d VMs and their disks: %s?", what, len(vms), strings.Join(names, ", "))
}

func printDeleted(s *session.Session, vms []client.VM) error {
	type deleted struct {
		ID     string        `json:"id"`
		Name   string        `json:"vmName"`
		Refund client.Amount `json:"refund"`
	}
	all := make([]deleted, len(vms))
	t := session.Table{Header: []string{"deleted", "name", "refund"}}
	for i, v := range vms {
		all[i] = deleted{v.ID, v.Name, v.ReservedBalance}
		t.Add(v.ID, v.Name, v.ReservedBalance+" USDC")
	}
	return s.Print(all, t)
}
