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
	flags    func(*pflag.FlagSet)
	prepare  func(ctx context.Context, cloud *client.Client, args []string) error // before it is done
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

func (a act) command(s *session.Session) *cobra.Command {
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
				if o, err = ended(cmd.Context(), cloud, v, o, timeout); err != nil {
					return err
				}
			}
			return printOperation(s, v, o)
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
func ended(ctx context.Context, cloud *client.Client, v client.VM, o client.Operation, timeout time.Duration) (client.Operation, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
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

func printOperation(s *session.Session, v client.VM, o client.Operation) error {
	var t session.Table
	t.Add("vm:", v.Name)
	t.Add("operation:", o.ID)
	t.Add("action:", o.Action)
	t.Add("outcome:", o.Outcome)
	if o.EndedAt != nil {
		t.Add("took:", o.EndedAt.Sub(o.StartedAt).Round(100*time.Millisecond).String())
	}
	return s.Print(o, t)
}
