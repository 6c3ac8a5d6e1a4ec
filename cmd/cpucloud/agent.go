package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/agent/doctor"
	"github.com/cpucloud/cpucloud/internal/agent/service"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

// defaultURL is where `cpucloud server` listens.
const defaultURL = "http://127.0.0.1:8080"

// machine is what the agent's commands do to this machine itself.
type machine struct {
	service service.Manager
	inspect func(context.Context, *host) (capacity.Inventory, hypervisor.Facts, error)
	examine func(context.Context, doctor.Config) []doctor.Result
}

// thisMachine is the real one.
func thisMachine() machine {
	inspect := func(ctx context.Context, h *host) (capacity.Inventory, hypervisor.Facts, error) {
		return h.inventory(ctx)
	}
	return machine{service: service.Manager{User: os.Geteuid(), Run: runProgram}, inspect: inspect, examine: doctor.Examine}
}

// runProgram runs a program to its end; what it said is in the error.
func runProgram(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// agentFlags say whose agent runs where and how.
type agentFlags struct {
	data    string
	url     string
	verbose bool
	host    hostFlags
	token   tokenFlags
}

// registerFolder adds the flags that all of the agent's commands have.
func (a *agentFlags) registerFolder(flags *pflag.FlagSet, sys cli.IO, url string) {
	flags.StringVar(&a.data, "data", cli.DefaultData(sys.Env), "data folder; made for you alone")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "log what is of use when looking for a fault")
	flags.StringVar(&a.url, "server", url, "address of the control plane")
	flags.StringVar(&a.url, "url", url, "the same as --server")
	flags.StringVar(&a.host.caFile, "ca-file", "", "PEM file of a private authority that signs the control plane's certificate")
}

// register adds all flags of an agent.
func (a *agentFlags) register(flags *pflag.FlagSet, sys cli.IO) {
	a.registerFolder(flags, sys, defaultURL)
	a.token.register(flags)
	a.host.register(flags, 1, benchmarkAuto)
}

func (a *agentFlags) logger(sys cli.IO) *slog.Logger {
	c := cloudFlags{verbose: a.verbose}
	return c.logger(sys.Err)
}

func agentCommand(sys cli.IO) *cobra.Command { return newAgentCommand(sys, thisMachine()) }

func newAgentCommand(sys cli.IO, m machine) *cobra.Command {
	cmd := runCommand(sys, m)
	cmd.Use, cmd.Short = "agent", "Run this machine as a server of a marketplace"
	cmd.Long = `Run this machine as a server of a marketplace. It dials out, so it works behind NAT.

Begin with ` + "`cpucloud agent doctor`" + `, which finds what is missing here, then join with
` + "`cpucloud agent join`" + `. Without one of these commands it does what ` + "`cpucloud agent run`" + ` does.`
	cmd.Example = `  cpucloud agent doctor --server https://cloud.example.org
  CPUCLOUD_JOIN_TOKEN=join_… cpucloud agent join --server https://cloud.example.org
  cpucloud agent benchmark`
	cmd.AddCommand(joinCommand(sys, m), runCommand(sys, m), benchmarkCommand(sys), doctorCommand(sys, m), imageCommand(sys))
	return cmd
}

func runCommand(sys cli.IO, m machine) *cobra.Command {
	var flags agentFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the agent until Ctrl-C; VMs go on",
		Long: `Run the agent of this machine until it is told to stop. VMs go on without it, and the
next start finds them again. This is what the service runs that ` + "`cpucloud agent join`" + `
makes.

The first start needs a join token, unless the machine has joined before.
` + aboutTokens,
		Example: `  cpucloud agent run --server https://cloud.example.org
  CPUCLOUD_JOIN_TOKEN=join_… cpucloud agent run --server https://cloud.example.org
  cpucloud agent run --server https://cloud.lan --ca-file ca.pem --token-file token --data /var/lib/cpucloud-agent`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return flags.run(cmd.Context(), sys, m) },
	}
	flags.register(cmd.Flags(), sys)
	return cmd
}

// run joins where that is still to be done, and keeps the server until ctx is done.
func (a *agentFlags) run(ctx context.Context, sys cli.IO, m machine) (err error) {
	f, err := openFolder(a.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h, inv, facts, err := a.open(ctx, f, sys, m)
	if err != nil {
		return err
	}
	if _, err := a.enroll(ctx, sys, h, inv); err != nil {
		return err
	}
	describe(sys.Err, facts, inv)
	return h.run(ctx, h.agent(a.url, clientOf(h.roots), inv))
}

// open opens the host over an open folder and looks at the machine.
func (a *agentFlags) open(ctx context.Context, f *folder, sys cli.IO, m machine) (*host, capacity.Inventory, hypervisor.Facts, error) {
	h, err := openHost(ctx, f.path, a.host, []string{hostPort(a.url)}, a.logger(sys))
	if err != nil {
		return nil, capacity.Inventory{}, hypervisor.Facts{}, err
	}
	inv, facts, err := m.inspect(ctx, h)
	return h, inv, facts, err
}

// enroll joins the marketplace unless the folder has before, and returns the
// server's id.
func (a *agentFlags) enroll(ctx context.Context, sys cli.IO, h *host, inv capacity.Inventory) (server string, err error) {
	server, err = agent.Joined(h.dir)
	if server != "" || err != nil {
		return server, err
	}
	token, err := a.token.read(sys)
	if err != nil {
		return "", err
	}
	server, err = agent.Enroll(ctx, agent.Enrollment{
		Dir: h.dir, URL: a.url, HTTP: clientOf(h.roots), Token: token, Inventory: inv, Rand: rand.Reader,
	})
	if fault.Is(err, fault.Denied) { // of a token, where the command line would speak of an API key
		err = fault.Newf(fault.Conflict, "the join token is refused: %s; the machine's provider makes another with `cpucloud provider token`", fault.Message(err))
	}
	return server, err
}
