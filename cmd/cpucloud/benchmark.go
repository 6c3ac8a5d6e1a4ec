package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/agent/benchmark"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func benchmarkCommand(sys cli.IO) *cobra.Command {
	var flags agentFlags
	cmd := &cobra.Command{
		Use:   "benchmark",
		Short: "Measure this machine now, for about 15 seconds",
		Long: `Measure this machine: processor, memory, the disk of the data folder, and with --server
the way to the control plane. It takes about 15 seconds and all threads, so VMs are slower
meanwhile; what runs at the same time makes the figures smaller. The result is shown and
not sent: the agent takes its own after joining, and when its provider asks with
` + "`cpucloud provider server benchmark`" + `.`,
		Example: `  cpucloud agent benchmark
  cpucloud agent benchmark --data /srv/cpucloud --server https://cloud.example.org
  cpucloud agent benchmark -o json | jq .disk_iops`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := makeData(flags.data)
			if err != nil {
				return err
			}
			roots, err := authorities(flags.host.caFile)
			if err != nil {
				return err
			}
			c := benchmark.Config{Dir: dir, Now: time.Now}
			if flags.url != "" {
				c.Ping = ping(clientOf(roots), flags.url)
			}
			fmt.Fprintln(sys.Err, "Measuring; it takes about 15 seconds.")
			m, err := benchmark.Run(cmd.Context(), c)
			if err != nil {
				return err
			}
			return printer(sys, cmd).Print(m, figures(m))
		},
	}
	flags.registerFolder(cmd.Flags(), sys, "")
	return cmd
}

// makeData makes the data folder if it isn't there, without holding it: an agent
// may run over it.
func makeData(data string) (string, error) {
	dir, err := filepath.Abs(data)
	if err != nil {
		return "", fmt.Errorf("find data folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fault.Newf(fault.Unavailable, "the data folder can't be made: %v; choose another with --data", err)
	}
	return dir, nil
}

// printer prints in the format of the global flag.
func printer(sys cli.IO, cmd *cobra.Command) *session.Session {
	s := &session.Session{IO: sys, Format: session.TableFormat}
	if f := cmd.Flag("output"); f != nil {
		s.Format = session.Format(f.Value.String())
	}
	return s
}

// ping goes to the control plane and back.
func ping(c *http.Client, url string) func(context.Context) error {
	if c == nil {
		c = http.DefaultClient
	}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/healthz", nil)
		if err != nil {
			return err
		}
		answer, err := c.Do(request)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16)) // so that the connection is used again
		if err = errors.Join(err, answer.Body.Close()); err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s answers %s", url, answer.Status)
		}
		return err
	}
}

// figures is what people are shown of a benchmark.
func figures(m capacity.Measured) session.Table {
	var t session.Table
	add := func(label string, value float64, unit string) {
		text := "not measured"
		if value > 0 {
			text = strings.TrimSpace(strconv.FormatFloat(value, 'f', -1, 64) + " " + unit)
		}
		t.Add(label, text)
	}
	add("CPU, one thread", m.CPUSingle, "")
	add("CPU, all threads", m.CPUAll, "")
	add("Memory", m.Memory, "MiB/s")
	add("Disk, reading", m.DiskRead, "MiB/s")
	add("Disk, writing", m.DiskWrite, "MiB/s")
	add("Disk, random reads", m.DiskIOPS, "per second")
	add("Disk, durable write", m.DiskFsync, "ms")
	add("Control plane", m.Network, "ms")
	if m.Note != "" {
		t.Add("Note", m.Note)
	}
	return t
}
