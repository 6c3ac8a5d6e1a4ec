package session

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// Noun makes cmd a command that only holds others: without arguments it shows
// its help, with an unknown one it fails and says which were meant.
func Noun(cmd *cobra.Command, verbs ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(verbs...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		meant := ""
		c.SuggestionsMinimumDistance = 2
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			meant = "; did you mean " + strings.Join(near, ", ") + "?"
		}
		return fault.Newf(fault.Malformed, "unknown command %q for %q%s", args[0], c.CommandPath(), meant)
	}
	return cmd
}

// Lines joins the lines of an example, indented as cobra shows them.
func Lines(lines ...string) string { return "  " + strings.Join(lines, "\n  ") }

// completionTime is how long a shell waits for suggestions at most.
const completionTime = 2 * time.Second

// Complete returns a completion that asks the cloud. Words on the line already
// are not suggested again. A cloud out of reach suggests nothing.
func (s *Session) Complete(ask func(context.Context, *client.Client) ([]string, error)) cobra.CompletionFunc {
	return CompleteWith(s.Cloud, ask)
}

// CompleteWith is Complete with a client of the caller's choice.
func CompleteWith(login func() (*client.Client, error), ask func(context.Context, *client.Client) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		cloud, err := login()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		words, err := ask(ctx, cloud)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var fit []string
		for _, w := range words {
			if strings.HasPrefix(w, toComplete) && !slices.Contains(args, w) {
				fit = append(fit, Clean(w))
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp
	}
}

// Words returns a completion of fixed words.
func Words(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// CompleteFlag gives a flag of cmd a completion. It does nothing when cmd has
// no such flag.
func CompleteFlag(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	_ = cmd.RegisterFlagCompletionFunc(flag, f) // fails only for a flag that isn't there, or twice: a test has them all
}
