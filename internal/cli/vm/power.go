package vm

import (
	"context"
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

	// What some have besides.
	operands string // behind the VM's name
	noun     string // before the verb, such as "snapshot "
	flags    func(*pflag.FlagSet)
	among    vmsOf                                                                // those that it is for, nil for those that are listed
	prepare  func(ctx context.Context, cloud *client.Client, args []string) error // before it is done
	tell     func(s *session.Session, v client.VM)                                // and what is to be known before
	ask      func(v client.VM) string                                             // a question that --yes spares
	after    func(v client.VM) error                                              // once it has begun
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

// command returns the verb's command: for several VMs, unless it has what is for one
// alone.
func (a act) command(s *session.Session) *cobra.Command {
	if a.operands != "" || a.prepare != nil || a.ask != nil || a.after != nil {
		return a.forOne(s)
	}
	return a.forSeveral(s)
}

func (a act) forOne(s *session.Session) *cobra.Command {
	wait, yes, timeout := false, a.ask == nil, defaultTimeout
	var dry session.DryRun
	cmd := &cobra.Command{
		Use: a.verb + " NAME|ID" + a.operands, Short: a.short,
		Long:              a.long + "\n\nWith --wait the exit code is 3 when it failed, or time is up before.",
		Example:           session.Lines(a.examples...),
		Args:              cobra.ExactArgs(1 + strings.Count(a.operands, " ")),
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
			if a.prepare != nil {
				if err := a.prepare(cmd.Context(), cloud, args); err != nil {
					return err
				}
			}
			if a.tell != nil {
				a.tell(s, v)
			}
			if !yes && !bool(dry) {
				if yes, err = s.Confirm(a.ask(v), "--yes"); err != nil || !yes {
					return err
				}
			}
			request, err := s.NewRequestID()
			if err != nil {
				return err
			}
			o, err := a.do(dry.Of(cloud), cmd.Context(), v.ID, request)
			if err != nil {
				return err
			}
			dry.Note(s)
			if a.after != nil && !bool(dry) {
				if err := a.after(v); err != nil {
					return err
				}
			}
			if wait && !bool(dry) {
				limit, cancel := context.WithTimeout(cmd.Context(), timeout)
				defer cancel()
				if o, err = ended(cmd.Context(), limit, cloud, v, o, timeout); err != nil {
					return err
				}
			}
			return printOperations(s, []begun{{v, o}})
		},
	}
	dry.Bind(cmd)
	if a.flags != nil {
		a.flags(cmd.Flags())
	}
	if a.ask != nil {
		cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is done and the virtual machine answers")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait")
	return cmd
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
