package vm

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func wait(s *session.Session) *cobra.Command {
	status, timeout := client.StatusActive, defaultTimeout
	cmd := &cobra.Command{
		Use:   "wait NAME|ID",
		Short: "Wait until a virtual machine has a status",
		Long:  "Wait until a virtual machine has a status. The exit code is 3 when it ended or time is up before.",
		Example: session.Lines(
			"cpucloud vm wait web",
			"cpucloud vm wait web --timeout 2m && cpucloud vm ssh web -- uname -a",
			"cpucloud vm wait web --status SmallBalance --timeout 72h",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: only(Names(s)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkWait(status, timeout); err != nil {
				return err
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			v, err := Find(cmd.Context(), cloud, args[0])
			if err != nil {
				return err
			}
			v, err = waiter{s, cloud, timeout}.until(cmd.Context(), v, status)
			if err != nil {
				return err
			}
			return s.Print(v, table([]client.VM{v}, false))
		},
	}
	cmd.Flags().StringVar(&status, "status", status, "the status to wait for")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait")
	session.CompleteFlag(cmd, "status", session.Words(statuses()...))
	return cmd
}

func checkWait(status string, timeout time.Duration) error {
	if !slices.Contains(statuses(), status) {
		return fault.Newf(fault.Invalid, "no status %q: it is one of %s", status, strings.Join(statuses(), ", "))
	}
	if timeout <= 0 {
		return fault.New(fault.Invalid, "--timeout has to be longer than nothing")
	}
	return nil
}
