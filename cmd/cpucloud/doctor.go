package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/agent/doctor"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func doctorCommand(sys cli.IO, m machine) *cobra.Command {
	var flags agentFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what keeps this machine from being a good server, and how to mend it",
		Long: `Look at everything that a server of a marketplace needs: that virtual machines run, disk,
memory, ports, addresses, clock, control groups, and with --server the way to the control
plane. What fails keeps the machine from working; a warning makes it slower or of less
use. The exit code is 1 when something fails. It may be run beside an agent and changes
nothing, but for the data folder, which it makes if it isn't there.`,
		Example: `  cpucloud agent doctor
  cpucloud agent doctor --server https://cloud.example.org --data /srv/cpucloud
  cpucloud agent doctor -o json | jq -r '.[] | select(.status != "pass") | .fix'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.examination(cmd.Context(), sys)
			if err != nil {
				return err
			}
			results := m.examine(cmd.Context(), c)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if err := show(printer(sys, cmd), results); err != nil {
				return err
			}
			if len(doctor.Failed(results)) > 0 {
				return &session.ExitError{Code: session.CodeError}
			}
			return nil
		},
	}
	flags.registerFolder(cmd.Flags(), sys, "")
	flags.host.register(cmd.Flags(), 1, benchmarkAuto)
	return cmd
}

// examination says what is to be looked at.
func (a *agentFlags) examination(ctx context.Context, sys cli.IO) (doctor.Config, error) {
	dir, err := makeData(a.data)
	if err != nil {
		return doctor.Config{}, err
	}
	log := slog.New(slog.DiscardHandler) // what it finds is the result
	if a.verbose {
		log = a.logger(sys)
	}
	h, err := lookAtHost(ctx, dir, a.host, log)
	if err != nil {
		return doctor.Config{}, err
	}
	return h.examination(ctx, a.url), nil
}

// examination says what is to be looked at; "" is no control plane.
func (h *host) examination(ctx context.Context, url string) doctor.Config {
	c := doctor.Config{
		Dir: h.dir, Pool: h.pool, Now: time.Now, Probe: h.hypervisor.Prove, URL: url, HTTP: clientOf(h.roots), Sold: h.flags.total,
		Network: h.examineNetwork(),
	}
	if found, err := h.discover(ctx); err == nil { // or the checks say what can't be read
		c.Sold = found.Total
	}
	return c
}

// show prints a line for each check, and below it how to mend what did not pass.
func show(s *session.Session, results []doctor.Result) error {
	if s.Format != session.TableFormat {
		return s.Print(results, session.Table{})
	}
	for _, r := range results {
		fmt.Fprintf(s.Out, "%-4s  %-18s  %s\n", strings.ToUpper(string(r.Status)), r.Name, session.Clean(r.Found))
		if r.Fix != "" {
			fmt.Fprintf(s.Out, "      %-18s  → %s\n", "", session.Clean(r.Fix))
		}
	}
	return nil
}
