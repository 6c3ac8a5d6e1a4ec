package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func downCommand(sys cli.IO) *cobra.Command {
	var cloud cloudFlags
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End a cloud that `up` started, and its VMs",
		Long: `End a cloud that ` + "`up`" + ` started: the process, if it runs, and all VMs on this
machine. Their disks and records stay, and the next ` + "`up`" + ` starts them again; to
remove a VM for good, delete it.`,
		Example: `  cpucloud down
  cpucloud down --data ./cloud`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if _, err := os.Stat(cloud.data); errors.Is(err, os.ErrNotExist) {
				return fault.Newf(fault.NotFound, "there is no cloud in %s", cloud.data)
			}
			f, err := takeOver(ctx, cloud.data)
			if err != nil {
				return err
			}
			defer f.Close() //nolint:errcheck // only a lock is let go
			log := cloud.logger(sys.Err)
			h, err := openHost(ctx, f.path, hostFlags{}, nil, log)
			if err != nil {
				return err
			}
			if err := agent.EndAll(ctx, h.dir, h.hypervisor, h.network, log); err != nil {
				return err
			}
			fmt.Fprintln(sys.Err, "The cloud and its VMs have ended; their disks are kept.")
			return nil
		},
	}
	cmd.Flags().StringVar(&cloud.data, "data", cli.DefaultData(sys.Env), "data folder of the cloud")
	return cmd
}

// takeOver holds a data folder, and asks the process that does to stop first.
func takeOver(ctx context.Context, path string) (*folder, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*stopWithin)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for asked := false; ; {
		f, err := openFolder(path)
		if !fault.Is(err, fault.Conflict) {
			return f, err
		}
		if !asked {
			if err := askToStop(path); err != nil {
				return nil, err
			}
			asked = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// askToStop sends SIGTERM to the process that holds the folder. It holds the
// lock at this moment, so its id is not an old one.
func askToStop(path string) error {
	lock, err := os.Open(filepath.Join(path, "lock"))
	if err != nil {
		return fmt.Errorf("read lock: %w", err)
	}
	defer lock.Close() //nolint:errcheck // it was only read
	pid := holder(lock)
	if pid <= 1 {
		return fault.New(fault.Conflict, "the cloud is running but its process is not known; stop it with Ctrl-C")
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fault.Newf(fault.Conflict, "the cloud's process %d can't be stopped: %v", pid, err)
	}
	return nil
}
