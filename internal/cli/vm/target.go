package vm

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// target is the VMs that a verb is for: named, or chosen by their labels.
type target struct {
	selector string
	yes      bool
	among    vmsOf // nil for the VMs that are listed
}

// vmsOf returns VMs that a selector of labels chooses, "" for all.
type vmsOf func(ctx context.Context, cloud *client.Client, labels string) ([]client.VM, error)

// chosenBy tells the flags of a target, for the help of a verb.
const chosenBy = "With -l it is for all virtual machines whose labels are so, such as env=prod,tier!=web,owner,!temp, and\n" +
	"asks first, naming them, unless --yes is given."

func (t *target) bind(cmd *cobra.Command) {
	bindSelector(cmd, &t.selector)
	cmd.Flags().BoolVarP(&t.yes, "yes", "y", false, "do not ask")
}

func bindSelector(cmd *cobra.Command, selector *string) {
	cmd.Flags().StringVarP(selector, "selector", "l", "", "only VMs whose labels are so: env=prod, tier!=web, owner, !temp, zone in (a,b), joined by commas")
	session.CompleteFlag(cmd, "selector", cobra.NoFileCompletions)
}

// args are the arguments of a command with a target: names, or none with a selector.
func (t *target) args(_ *cobra.Command, words []string) error { return t.check(words) }

func (t *target) check(names []string) error {
	if t.selector != "" && len(names) > 0 {
		return fault.New(fault.Malformed, "virtual machines are named, or chosen by -l, not both")
	}
	if t.selector == "" && len(names) == 0 {
		return fault.New(fault.Malformed, "name virtual machines, or choose them by -l such as -l env=prod")
	}
	return nil
}

// find returns the VMs. A selector that chooses none is a NotFound fault: it may be
// mistaken.
func (t *target) find(ctx context.Context, cloud *client.Client, names []string) ([]client.VM, error) {
	among := t.among
	if among == nil {
		among = listed
	}
	vms, err := among(ctx, cloud, t.selector)
	if err != nil || t.selector == "" {
		return pickAll(vms, names, err)
	}
	if len(vms) == 0 {
		return nil, fault.Newf(fault.NotFound, "no VM has labels such as %q: `cpucloud vm list --labels` shows those of yours", t.selector)
	}
	return vms, err
}

func listed(ctx context.Context, cloud *client.Client, labels string) ([]client.VM, error) {
	return cloud.VMs(ctx, client.ListOptions{Labels: labels})
}

// agree asks whether to go on with VMs that were chosen by their labels. what is what
// is done to them, such as "Reboot".
func (t *target) agree(s *session.Session, what string, vms []client.VM, dry session.DryRun) (bool, error) {
	if t.selector == "" || t.yes || bool(dry) {
		return true, nil
	}
	return s.Confirm(fmt.Sprintf("%s %s?", what, named(vms)), "--yes")
}

// named tells VMs by their names, one by its id too.
func named(vms []client.VM) string {
	if len(vms) == 1 {
		return fmt.Sprintf("VM %s (%s)", vms[0].Name, vms[0].ID)
	}
	names := make([]string, len(vms))
	for i, v := range vms {
		names[i] = v.Name
	}
	return fmt.Sprintf("%d VMs: %s", len(vms), strings.Join(names, ", "))
}
