package provider

import (
	"cmp"
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// tell completes cmd as one that tells a server something and prints how it is
// then. The note says what that means, with {server} and perhaps {deadline}.
func tell(s *session.Session, cmd *cobra.Command, note string, do func(context.Context, seat, string) (client.Server, error)) *cobra.Command {
	var dry session.DryRun
	dry.Bind(cmd)
	cmd.Args = cobra.ExactArgs(1)
	cmd.ValidArgsFunction = servers(s)
	return verb(s, cmd, func(ctx context.Context, at seat, args []string) error {
		at.cloud, at.dry = dry.Of(at.cloud), dry
		v, err := do(ctx, at, args[0])
		if err != nil {
			return err
		}
		return told(at, v, args[0], note)
	})
}

// told prints how a server is, and what that means.
func told(at seat, v client.Server, name, note string) error {
	if at.dry {
		at.dry.Note(at.Session)
		return at.Print(v, table(v))
	}
	at.Notef("%s", strings.NewReplacer("{server}", cmp.Or(v.Name, name), "{deadline}", perhaps(v.DrainDeadline)).Replace(note))
	return at.Print(v, table(v))
}

func cordon(s *session.Session) *cobra.Command {
	return tell(s, &cobra.Command{
		Use:     "cordon NAME|ID",
		Short:   "Keep new VMs off a server",
		Long:    "Keep new VMs off a server. Those on it run on.",
		Example: session.Lines("cpucloud provider server cordon rack1", "cpucloud provider server cordon rack1 -o json | jq -r .state"),
	}, "No new VMs are placed on {server}; those on it run on.", func(ctx context.Context, at seat, name string) (client.Server, error) {
		return at.cloud.Cordon(ctx, at.provider, name)
	})
}

func uncordon(s *session.Session) *cobra.Command {
	return tell(s, &cobra.Command{
		Use:     "uncordon NAME|ID",
		Short:   "Let new VMs onto a server again",
		Long:    "Let new VMs onto a server again, after cordon or drain.",
		Example: session.Lines("cpucloud provider server uncordon rack1", "cpucloud provider server uncordon rack1 --provider 'Example Hosting'"),
	}, "{server} is open for new VMs again.", func(ctx context.Context, at seat, name string) (client.Server, error) {
		return at.cloud.Uncordon(ctx, at.provider, name)
	})
}

func drain(s *session.Session) *cobra.Command {
	deadline, reason := "72h", ""
	cmd := tell(s, &cobra.Command{
		Use:   "drain NAME|ID",
		Short: "Empty a server by a deadline",
		Long: "Empty a server by a deadline. No new VMs are placed on it; customers are told when those on it end, and\n" +
			"why. What is still there at the deadline is ended, and the rest of its epoch goes back.\n" +
			"`cpucloud provider server uncordon` calls it off.",
		Example: session.Lines(
			"cpucloud provider server drain rack1 --dry-run",
			"cpucloud provider server drain rack1 --deadline 7d --reason 'moving to a new building'",
		),
	}, "{server} takes no new VMs. What is left on it at {deadline} UTC is ended; customers are told.", func(ctx context.Context, at seat, name string) (client.Server, error) {
		left, err := session.Duration(deadline)
		if err != nil {
			return client.Server{}, err
		}
		return at.cloud.Drain(ctx, at.provider, name, left, reason)
	})
	cmd.Flags().StringVar(&deadline, "deadline", deadline, "how long customers have, such as 72h or 3d")
	cmd.Flags().StringVar(&reason, "reason", "", "what customers are told")
	for _, flag := range []string{"deadline", "reason"} {
		session.CompleteFlag(cmd, flag, cobra.NoFileCompletions)
	}
	return cmd
}

func benchmark(s *session.Session) *cobra.Command {
	return tell(s, &cobra.Command{
		Use:     "benchmark NAME|ID",
		Short:   "Have a server measure itself anew",
		Long:    "Have a server measure processor, memory, disk and network anew. VMs on it are slower meanwhile.",
		Example: session.Lines("cpucloud provider server benchmark rack1", "cpucloud provider server benchmark rack1 -o json | jq .measured"),
	}, "{server} measures itself; `cpucloud provider server show {server}` has the figures in a minute or two.",
		func(ctx context.Context, at seat, name string) (client.Server, error) {
			return at.cloud.BenchmarkServer(ctx, at.provider, name)
		})
}
