package vm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/market"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func statuses() []string {
	return []string{
		client.StatusNew, client.StatusLaunching, client.StatusActive, client.StatusSmallBalance,
		client.StatusInsufficientFunds, client.StatusTerminated, client.StatusStopped, client.StatusFailed,
	}
}

func list(s *session.Session) *cobra.Command {
	var o client.ListOptions
	labels := false
	deleted := false
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List your virtual machines",
		Example: session.Lines(
			"cpucloud vm list",
			"cpucloud vm list --status Active,SmallBalance --datacenter us-nyc-1",
			"cpucloud vm list -l env=prod,tier!=web --labels",
			"cpucloud vm list --deleted -o json | jq -r '.[] | [.id, .keptUntil] | @tsv'",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			if deleted {
				vms, err := cloud.DeletedVMs(cmd.Context(), o.Labels)
				if err != nil {
					return err
				}
				return s.Print(vms, deletedTable(vms))
			}
			vms, err := cloud.VMs(cmd.Context(), o)
			if err != nil {
				return err
			}
			switch {
			case len(vms) == 0 && o.Labels != "":
				s.Notef("No VM has labels such as %q.", o.Labels)
			case len(vms) == 0:
				s.Notef("No VMs. Create one with `cpucloud vm create NAME`.")
			}
			return s.Print(vms, table(vms, labels))
		},
	}
	cmd.Flags().StringSliceVar(&o.Statuses, "status", nil, "only VMs of this status; any of several")
	cmd.Flags().StringVar(&o.Datacenter, "datacenter", "", "only VMs in this datacenter, such as us-nyc-1")
	bindSelector(cmd, &o.Labels)
	cmd.Flags().BoolVar(&labels, "labels", false, "show labels, too")
	cmd.Flags().BoolVar(&deleted, "deleted", false, "the deleted VMs that can be undeleted, and until when")
	cmd.MarkFlagsMutuallyExclusive("deleted", "status")
	cmd.MarkFlagsMutuallyExclusive("deleted", "datacenter")
	session.CompleteFlag(cmd, "status", session.Words(statuses()...))
	return cmd
}

func deletedTable(vms []client.VM) session.Table {
	t := session.Table{Header: []string{"id", "name", "size", "kept until"}}
	for _, v := range vms {
		until := "-"
		if v.KeptUntil != nil {
			until = when(*v.KeptUntil)
		}
		t.Add(v.ID, v.Name, size(v), until)
	}
	return t
}

func table(vms []client.VM, labels bool) session.Table {
	t := session.Table{Header: []string{"id", "name", "status", "address", "size", "datacenter", "price/epoch", "created"}}
	if labels {
		t.Header = append(t.Header, "labels")
	}
	if slices.ContainsFunc(vms, func(v client.VM) bool { return warnings(v) != "" }) {
		t.Header = append(t.Header, "warning")
	}
	for _, v := range vms {
		row := []string{
			v.ID, v.Name, status(v), cmp.Or(v.Address(), "-"), size(v), market.PlaceOf(v.Datacenter), v.PricePerEpoch, when(v.CreatedAt),
		}
		if labels {
			row = append(row, cmp.Or(labelWords(v.Labels), "-"))
		}
		row = append(row, warnings(v))
		t.Add(row[:len(t.Header)]...)
	}
	return t
}

// status returns a VM's status, and whether it is powered off in it.
func status(v client.VM) string {
	if v.Power == client.PowerOff && !client.Ended(v.Status) {
		return v.Status + ", off"
	}
	return v.Status
}

// warnings joins what a VM's owner should know, "" where all is well.
func warnings(v client.VM) string {
	var texts []string
	for _, text := range []string{owed(v), unreachable(v), drained(v)} {
		if text != "" {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, "; ")
}

func size(v client.VM) string {
	return fmt.Sprintf("%d vCPU, %d GiB, %d GiB disk", v.Supply("VCPU"), v.Supply("RAM"), v.Supply("STORAGE"))
}

func when(t time.Time) string { return t.UTC().Format(time.DateTime) }
