package vm

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func remove(s *session.Session) *cobra.Command {
	var target target
	var dry session.DryRun
	cmd := &cobra.Command{
		Use:     "delete NAME|ID...",
		Aliases: []string{"rm"},
		Short:   "Delete virtual machines and their disks",
		Long: "Delete virtual machines and their disks, all of them or none. What their reserves hold goes back\n" +
			"to the balance; the epoch that has begun is not refunded. Asks first, unless --yes is given.\n\n" +
			"With -l it is for all virtual machines whose labels are so, such as env=prod,tier!=web,owner,!temp.",
		Example: session.Lines(
			"cpucloud vm delete web --dry-run",
			"cpucloud vm delete web db 0x1f9a --yes",
			"cpucloud vm delete -l env=test,!keep",
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
				if yes, err := s.Confirm(question(vms), "--yes"); err != nil || !yes {
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
			return printDeleted(s, vms)
		},
	}
	dry.Bind(cmd)
	target.bind(cmd)
	return cmd
}

func question(vms []client.VM) string {
	if len(vms) == 1 {
		return fmt.Sprintf("Delete VM %s (%s) and its disk?", vms[0].Name, vms[0].ID)
	}
	names := make([]string, len(vms))
	for i, v := range vms {
		names[i] = v.Name
	}
	return fmt.Sprintf("Delete %d VMs and their disks: %s?", len(vms), strings.Join(names, ", "))
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
