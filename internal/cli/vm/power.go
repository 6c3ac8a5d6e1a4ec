package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// act is a verb that begins an operation of one VM.
type act struct {
	verb, short, long string
	examples          []string
	do                func(c *client.Client, ctx context.Context, id, requestID string) (client.Operation, error)
	among             vmsOf                                 // those that it is for, nil for those that are listed
	tell              func(s *session.Session, v client.VM) // before it is done; nil for nothing
	flags             func(f *pflag.FlagSet)                // nil for none of its own
}

func reboot(s *session.Session) *cobra.Command {
	return act{
		verb: "reboot", short: "Reboot a virtual machine",
		long: "Ask the guest to power itself off, as by its power button, and start it again; one that has not\n" +
			"gone within a minute is switched off. Disk, address and price stay.",
		examples: []string{"cpucloud vm reboot web", "cpucloud vm reboot web --wait && cpucloud vm ssh web -- uptime"},
		do:       (*client.Client).RebootVM,
	}.command(s)
}

func reset(s *session.Session) *cobra.Command {
	return act{
		verb: "reset", short: "Start a virtual machine anew at once",
		long: "Start a virtual machine anew at once, as by its reset button. Its guest is not asked: what it had\n" +
			"not written to its disk is lost. `cpucloud vm reboot` is gentler.",
		examples: []string{"cpucloud vm reset web", "cpucloud vm reset web --wait --timeout 5m"},
		do:       (*client.Client).ResetVM,
	}.command(s)
}

func shutdown(s *session.Session) *cobra.Command {
	return act{
		verb: "shutdown", short: "Power a virtual machine off",
		long: "Ask the guest to power itself off, as by its power button; one that has not gone within a minute is\n" +
			"switched off. Disk and address stay. From its next epoch on it costs what they do, which\n" +
			"`cpucloud vm show` tells; others may have its vCPUs and memory meanwhile.",
		examples: []string{"cpucloud vm shutdown web", "cpucloud vm shutdown web --wait"},
		do:       (*client.Client).ShutdownVM,
		tell: func(s *session.Session, v client.VM) {
			from := "its next epoch"
			if v.NextBillingAt != nil {
				from = when(*v.NextBillingAt) + " UTC"
			}
			s.Notef("VM %s: while it is powered off an epoch costs %s USDC, its storage and address, in place of %s: from %s on", v.Name, v.PriceOff, v.PricePerEpoch, from)
		},
	}.command(s)
}

func start(s *session.Session) *cobra.Command {
	return act{
		verb: "start", short: "Start a virtual machine that was shut down",
		long: "Start a virtual machine that was shut down. It costs what it did from now on; what is left of an epoch\n" +
			"that was charged for less is taken off. When others have its vCPUs and memory by now it says so.",
		examples: []string{"cpucloud vm start web", "cpucloud vm start web --wait && cpucloud vm ssh web"},
		do:       (*client.Client).StartVM,
	}.command(s)
}

func undelete(s *session.Session) *cobra.Command {
	return act{
		verb: "undelete", short: "Bring a deleted virtual machine back",
		long: "Bring a deleted virtual machine back, with the disk and the address that it had, and start it. Its deposit\n" +
			"is reserved anew. `cpucloud vm list --deleted` tells which ones can be, and until when.",
		examples: []string{"cpucloud vm undelete web", "cpucloud vm undelete 0x1f9a --wait"},
		do:       (*client.Client).UndeleteVM,
		among:    deletedVMs,
	}.command(s)
}

func resize(s *session.Session) *cobra.Command {
	var size client.Size
	return act{
		verb: "resize", short: "Give a virtual machine another size",
		long: "Give a virtual machine other vCPUs and memory, a larger disk, or both, at the prices that its offer asks now.\n" +
			"One that runs is rebooted for it. Disks only grow. Where an epoch costs more then, agree to it by --max-price:\n" +
			"without that it is told, and nothing changes.",
		examples: []string{
			"cpucloud vm resize web --configuration cpu-4-ram-8gb-storage-25gb --max-price 1.7 --wait",
			"cpucloud vm resize web --storage 50 --dry-run",
		},
		do: func(c *client.Client, ctx context.Context, id, requestID string) (client.Operation, error) {
			return c.ResizeVM(ctx, id, requestID, size)
		},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&size.Configuration, "configuration", "", "the one it is to have, such as cpu-4-ram-8gb-storage-25gb")
			f.Int64Var(&size.Storage, "storage", 0, "GiB that its disk is to have")
			f.StringVar(&size.MaxPrice, "max-price", "", "USDC that an epoch may cost then (default: what it costs now)")
		},
	}.command(s)
}

// deletedVMs returns the VMs that can be undeleted.
func deletedVMs(ctx context.Context, cloud *client.Client, labels string) ([]client.VM, error) {
	return cloud.DeletedVMs(ctx, labels)
}

func (a act) command(s *session.Session) *cobra.Command {
	wait, timeout := false, defaultTimeout
	var dry session.DryRun
	target := target{among: a.among}
	cmd := &cobra.Command{
		Use: a.verb + " NAME|ID...", Short: a.short,
		Long: a.long + "\n\nWith --wait the exit code is 3 when it failed, or time is up before. Of several, one that refuses\n" +
			"does not hold up the others.\n\n" + chosenBy,
		Example:           session.Lines(append(a.examples, "cpucloud vm "+a.verb+" -l env=test")...),
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
			if ok, err := target.agree(s, strings.ToUpper(a.verb[:1])+a.verb[1:], vms, dry); err != nil || !ok {
				return err
			}
			begun, failure := a.begin(cmd.Context(), s, dry.Of(cloud), vms)
			dry.Note(s)
			if wait && !bool(dry) {
				failure = errors.Join(failure, endAll(cmd.Context(), cloud, begun, timeout))
			}
			return errors.Join(printOperations(s, begun), failure)
		},
	}
	dry.Bind(cmd)
	target.bind(cmd)
	if a.flags != nil {
		a.flags(cmd.Flags())
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is done and the virtual machine answers")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait")
	return cmd
}

// begun is an operation of a VM.
type begun struct {
	vm client.VM
	client.Operation
}

// begin begins the operations, and returns those that were with what kept the others.
func (a act) begin(ctx context.Context, s *session.Session, cloud *client.Client, vms []client.VM) (list []begun, failure error) {
	for _, v := range vms {
		if a.tell != nil {
			a.tell(s, v)
		}
		request, err := s.NewRequestID()
		if err != nil {
			return list, err
		}
		o, err := a.do(cloud, ctx, v.ID, request)
		if err != nil && len(vms) > 1 {
			err = fmt.Errorf("VM %s: %w", v.Name, err)
		}
		if failure = errors.Join(failure, err); err == nil {
			list = append(list, begun{v, o})
		}
	}
	return list, failure
}

// endAll waits until all operations have ended, and returns why some failed.
func endAll(ctx context.Context, cloud *client.Client, list []begun, timeout time.Duration) (failure error) {
	limit, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for i, b := range list {
		o, err := ended(ctx, limit, cloud, b.vm, b.Operation, timeout)
		failure = errors.Join(failure, err)
		if err == nil {
			list[i].Operation = o
		}
	}
	return failure
}

// ended returns an operation that has succeeded. An Exit with CodeVMFailed says why
// it hasn't.
func ended(ctx, limited context.Context, cloud *client.Client, v client.VM, o client.Operation, timeout time.Duration) (client.Operation, error) {
	now, err := cloud.WaitOperation(limited, o.ID)
	switch {
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		return now, failed("%s of VM %s goes on after %s: `cpucloud vm show %s` tells how far it is", o.Action, v.Name, timeout, v.Name)
	case err != nil:
		return now, err
	case now.Error != nil:
		return now, failed("%s of VM %s failed: %s", o.Action, v.Name, *now.Error)
	}
	return now, nil
}

func printOperations(s *session.Session, list []begun) error {
	operations := make([]client.Operation, len(list))
	t := session.Table{Header: []string{"vm", "operation", "action", "outcome", "took"}}
	for i, b := range list {
		operations[i] = b.Operation
		t.Add(b.vm.Name, b.ID, b.Action, b.Outcome, cmp.Or(took(b.Operation), "-"))
	}
	if len(list) == 0 {
		return nil
	}
	if len(list) > 1 {
		return s.Print(operations, t)
	}
	o, one := operations[0], session.Table{}
	one.Add("vm:", list[0].vm.Name)
	one.Add("operation:", o.ID)
	one.Add("action:", o.Action)
	one.Add("outcome:", o.Outcome)
	if text := took(o); text != "" {
		one.Add("took:", text)
	}
	return s.Print(o, one)
}

// took tells how long an operation took, "" while it goes on.
func took(o client.Operation) string {
	if o.EndedAt == nil {
		return ""
	}
	return o.EndedAt.Sub(o.StartedAt).Round(100 * time.Millisecond).String()
}
