package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func (a act) forSeveral(s *session.Session) *cobra.Command {
	wait, timeout := false, defaultTimeout
	var dry session.DryRun
	target := target{among: a.among}
	cmd := &cobra.Command{
		Use: a.verb + " NAME|ID...", Short: a.short,
		Long: a.long + "\n\nWith --wait the exit code is 3 when it failed, or time is up before. Of several, one that refuses\n" +
			"does not hold up the others.\n\n" + chosenBy,
		Example:           session.Lines(append(a.examples, "cpucloud vm "+a.noun+a.verb+" -l env=test")...),
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
