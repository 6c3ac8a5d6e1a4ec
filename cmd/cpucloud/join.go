package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/agent/doctor"
	"github.com/cpucloud/cpucloud/internal/agent/service"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// join is the command `cpucloud agent join`.
type join struct {
	agentFlags
	foreground bool
	kept       *pflag.FlagSet // the flags that the service is run with
	sys        cli.IO
	machine    machine
}

func joinCommand(sys cli.IO, m machine) *cobra.Command {
	j := &join{sys: sys, machine: m}
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Join a marketplace with this machine, and run its agent from now on",
		Long: `Join a marketplace with this machine as a server.

It checks the machine first, as ` + "`cpucloud agent doctor`" + ` does, and uses no token when a
check fails. Then it tells the control plane what the machine is made of and uses up
the join token. Then, as root where systemd runs, it makes the
service ` + service.Name + `, which runs the agent from now on and after every start of the
machine with the flags that are given here; VMs go on when the service is stopped.
Elsewhere the agent runs in the foreground until Ctrl-C.

` + aboutTokens + `

Joining again changes how the agent is run, and needs no token.`,
		Example: `  CPUCLOUD_JOIN_TOKEN=join_… cpucloud agent join --server https://cloud.example.org
  cpucloud agent join --server https://cloud.example.org --token - < token
  cpucloud agent join --server https://cloud.lan --ca-file ca.pem --token-file token --foreground
  cpucloud agent join --server https://cloud.example.org --data /srv/cpucloud --ram 120 --vcpu-per-thread 2`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return j.run(cmd.Context()) },
	}
	j.register(cmd.Flags(), sys)
	j.kept = pflag.NewFlagSet("kept", pflag.ContinueOnError)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "data", "server", "url", "ca-file", "token", "token-file", "join-token-file":
		default:
			j.kept.AddFlag(f)
		}
	})
	cmd.Flags().BoolVar(&j.foreground, "foreground", false, "run the agent here and now, without a service")
	return cmd
}

func (j *join) run(ctx context.Context) error {
	dir, err := filepath.Abs(j.data)
	if err != nil {
		return fmt.Errorf("find data folder: %w", err)
	}
	server, err := agent.Joined(dir)
	if err != nil {
		return err
	}
	if server != "" {
		fmt.Fprintf(j.sys.Err, "This machine has joined before, as server %s; a token is not needed.\n"+
			"To join anew as another server, give an empty folder with --data.\n", server)
	} else if server, err = j.enter(ctx); err != nil {
		return err
	} else {
		fmt.Fprintf(j.sys.Err, "This machine has joined %s as server %s.\n", j.url, server)
	}
	reason, usable := j.machine.service.Usable()
	if j.foreground || !usable {
		if !j.foreground {
			fmt.Fprintf(j.sys.Err, "No service is made: %s. ", reason)
		}
		fmt.Fprint(j.sys.Err, "The agent runs here; Ctrl-C stops it, VMs go on.\n")
		return j.agentFlags.run(ctx, j.sys, j.machine)
	}
	return j.install(ctx, dir)
}

// enter joins, and lets the folder go again for the agent.
func (j *join) enter(ctx context.Context) (server string, err error) {
	f, err := openFolder(j.data)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	token, err := j.token.read(j.sys)
	if err != nil {
		return "", err
	}
	j.token = tokenFlags{token: token} // standard input is read only once
	h, err := lookAtHost(ctx, f.path, j.host, j.logger(j.sys))
	if err != nil {
		return "", err
	}
	if err := j.check(ctx, h); err != nil {
		return "", err
	}
	inv, facts, err := j.machine.inspect(ctx, h)
	if err != nil {
		return "", err
	}
	if server, err = j.enroll(ctx, j.sys, h, inv); err == nil {
		describe(j.sys.Err, facts, inv)
	}
	return server, err
}

// check returns an Unavailable fault when this machine can't be a server, and
// says why and how to mend it.
func (j *join) check(ctx context.Context, h *host) error {
	failed := doctor.Failed(j.machine.examine(ctx, h.examination(ctx, j.url)))
	if len(failed) == 0 {
		return ctx.Err()
	}
	for _, r := range failed {
		fmt.Fprintf(j.sys.Err, "%s: %s\n  → %s\n", r.Name, session.Clean(r.Found), session.Clean(r.Fix))
	}
	return fault.New(fault.Unavailable,
		"this machine can't be a server yet, and the token is not used: mend what is said above and join again; `cpucloud agent doctor` shows all checks")
}

func (j *join) install(ctx context.Context, dir string) error {
	command, err := j.command(dir)
	if err != nil {
		return err
	}
	path, err := j.machine.service.Install(ctx, command, dir)
	if err != nil {
		return fmt.Errorf("the machine has joined, but its service does not run; "+
			"start the agent with `cpucloud agent run` or mend this and join again: %w", err)
	}
	fmt.Fprintf(j.sys.Err, "The agent runs as the service %s (%s), after every start of the machine too.\n"+
		"Its log:    journalctl -u %s -f\nIts state:  systemctl status %s\n", service.Name, path, service.Name, service.Name)
	return nil
}

// command returns what the service runs: this program as an agent, with the
// flags that were given.
func (j *join) command(dir string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	words := []string{self, "agent", "run", "--data=" + dir, "--url=" + j.url}
	if j.host.caFile != "" {
		file, err := filepath.Abs(j.host.caFile)
		if err != nil {
			return nil, fmt.Errorf("find certificate: %w", err)
		}
		words = append(words, "--ca-file="+file)
	}
	j.kept.VisitAll(func(f *pflag.Flag) {
		if !f.Changed {
			return
		}
		values := []string{f.Value.String()}
		if several, ok := f.Value.(pflag.SliceValue); ok {
			values = several.GetSlice()
		}
		for _, v := range values {
			words = append(words, "--"+f.Name+"="+v)
		}
	})
	return words, nil
}
