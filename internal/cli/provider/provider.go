// Package provider holds the commands of those who sell servers.
package provider

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// variable names the provider where no flag and no file does.
const variable = "CPUCLOUD_PROVIDER"

// Command is the noun provider.
func Command(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{
		Use:   "provider",
		Short: "Sell the capacity of your servers",
		Long: "Sell the capacity of your servers: declare offers in a file, let servers join, watch them, see what\n" +
			"they earn. Which provider is meant says --provider or $CPUCLOUD_PROVIDER, unless you have just one.",
	}, create(s), list(s), apply(s), export(s), schema(s), token(s), earnings(s), withdraw(s), withdrawals(s), server(s), terminate(s))
}

// seat is where a command for one provider works.
type seat struct {
	*session.Session
	cloud    *client.Client
	provider string // name or id
	dry      session.DryRun
}

// verb completes cmd as a command for one provider, with the flag that says which.
func verb(s *session.Session, cmd *cobra.Command, run func(context.Context, seat, []string) error) *cobra.Command {
	flag := bind(s, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		at, err := sit(cmd.Context(), s, *flag)
		if err != nil {
			return err
		}
		return run(cmd.Context(), at, args)
	}
	return cmd
}

func bind(s *session.Session, cmd *cobra.Command) *string {
	flag := cmd.Flags().String("provider", "", "name or id of the provider (default $"+variable+", or your only one)")
	session.CompleteFlag(cmd, "provider", s.Complete(func(ctx context.Context, cloud *client.Client) ([]string, error) {
		all, err := cloud.Providers(ctx)
		return names(all), err
	}))
	return flag
}

// sit logs in and takes the first provider that is named: by one of the words,
// by the environment, else the only one of the account.
func sit(ctx context.Context, s *session.Session, words ...string) (seat, error) {
	cloud, err := s.Cloud()
	if err != nil {
		return seat{}, err
	}
	for _, word := range append(words, s.Env(variable)) {
		if word != "" {
			return seat{Session: s, cloud: cloud, provider: word}, nil
		}
	}
	all, err := cloud.Providers(ctx)
	if err != nil {
		return seat{}, err
	}
	switch len(all) {
	case 0:
		return seat{}, fault.New(fault.NotFound, "you have no provider yet: make one with `cpucloud provider create NAME`")
	case 1:
		return seat{Session: s, cloud: cloud, provider: all[0].Name}, nil
	}
	return seat{}, fault.Newf(fault.Invalid, "which provider? give --provider or set %s to one of %s", variable, session.Clean(strings.Join(names(all), ", ")))
}

func names(all []client.Provider) []string {
	words := make([]string, len(all))
	for i, p := range all {
		words[i] = p.Name
	}
	return words
}

// complete suggests what ask returns for the provider that the line is about.
func complete(s *session.Session, ask func(context.Context, seat) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		flag, err := cmd.Flags().GetString("provider")
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return s.Complete(func(ctx context.Context, _ *client.Client) ([]string, error) {
			at, err := sit(ctx, s, flag)
			if err != nil {
				return nil, err
			}
			return ask(ctx, at)
		})(cmd, args, toComplete)
	}
}

// first completes the first argument alone.
func first(f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, toComplete)
	}
}

func when(t time.Time) string { return t.UTC().Format(time.DateTime) }

// longest bounds durations: ten years.
const longest = 10 * 365 * 24 * time.Hour

// duration reads what time.ParseDuration reads, and whole days.
func duration(text string) (time.Duration, error) {
	unit, parsed := time.Duration(1), text
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		unit, parsed = 24, days+"h"
	}
	d, err := time.ParseDuration(parsed)
	if err != nil || d <= 0 || d > longest/unit {
		return 0, fault.Newf(fault.Invalid, "%q is no duration such as 90m, 72h or 3d", text)
	}
	return d * unit, nil
}
