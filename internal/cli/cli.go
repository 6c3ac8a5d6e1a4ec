// Package cli is the command line of the cloud's customers, providers and
// operators: a tree of commands over the public client, one package per noun
// and one file per verb.
package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/account"
	"github.com/cpucloud/cpucloud/internal/cli/admin"
	"github.com/cpucloud/cpucloud/internal/cli/bill"
	"github.com/cpucloud/cpucloud/internal/cli/key"
	"github.com/cpucloud/cpucloud/internal/cli/market"
	"github.com/cpucloud/cpucloud/internal/cli/provider"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/cli/vm"
)

// IO is the world around the command line.
type IO = session.IO

// DefaultData returns the folder of the local cloud, as the environment has it:
// $CPUCLOUD_DATA, $XDG_STATE_HOME/cpucloud or ~/.local/state/cpucloud.
func DefaultData(env func(string) string) string { return session.DefaultData(env) }

// The groups of commands in the help.
const (
	groupCustomer = "customer"
	groupProvider = "provider"
	groupOperator = "operator"
)

// New returns the root of the command tree with the extra commands added,
// which appear in the help among the operator's.
func New(io IO, extra ...*cobra.Command) *cobra.Command {
	s := &session.Session{IO: io, Format: session.TableFormat}
	root := session.Noun(&cobra.Command{
		Use:   "cpucloud",
		Short: "Rent and run virtual machines in a marketplace of servers",
		Long: "cpucloud finds the server that fits best and cheapest, boots virtual machines on it and\n" +
			"keeps the money straight. Results go to standard output, everything else to standard error.",
		Example: session.Lines(
			"cpucloud offers --country US --max-price 1.50",
			"cpucloud vm create web --port 80 --port 443 --wait",
			"cpucloud vm ssh web",
			"cpucloud vm list -o json | jq -r '.[].publicIp'",
		),
		SilenceUsage:  true,
		SilenceErrors: true,
	})
	flags := root.PersistentFlags()
	flags.StringVar(&s.URL, "url", "", "the cloud's address (default $CPUCLOUD_URL)")
	flags.StringVar(&s.Data, "data", "", "data folder of a local cloud, whose demo.env and admin.env hold address and key")
	flags.VarP(&s.Format, "output", "o", "how to print results")
	session.CompleteFlag(root, "output", session.Words(session.Formats...))
	session.CompleteFlag(root, "url", cobra.NoFileCompletions)

	root.AddGroup(
		&cobra.Group{ID: groupCustomer, Title: "Use the cloud:"},
		&cobra.Group{ID: groupProvider, Title: "Sell servers:"},
		&cobra.Group{ID: groupOperator, Title: "Run the cloud:"},
	)
	add(root, groupCustomer, market.Offers(s), market.Why(s), market.Estimate(s), market.Quote(s), vm.Command(s), key.Command(s),
		market.Images(s), market.Datacenters(s), account.Command(s), bill.Command(s))
	add(root, groupProvider, provider.Command(s))
	add(root, groupOperator, append(extra, admin.Command(s))...)
	root.AddCommand(version(s), environment(), exitCodes())
	return root
}

func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// Execute runs the command that the arguments ask for and returns the exit
// code. Errors are said on io.Err.
func Execute(ctx context.Context, root *cobra.Command, io IO) int {
	root.SetIn(io.In)
	root.SetOut(io.Out)
	root.SetErr(io.Err)
	started := false
	everyRun(root, func() { started = true })
	err := root.ExecuteContext(ctx)
	code, text := verdict(err, started)
	if unmet, ok := errors.AsType[*market.UnmetError](err); ok {
		text += unmet.Explanation
	}
	if text != "" {
		_, _ = io.Err.Write([]byte(session.CleanLines(text))) // there is nowhere left to complain
	}
	return code
}

// everyRun calls first before any command runs: an error without that is one
// of the arguments.
func everyRun(c *cobra.Command, first func()) {
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			first()
			return run(cmd, args)
		}
	}
	for _, child := range c.Commands() {
		everyRun(child, first)
	}
}
