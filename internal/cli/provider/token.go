package provider

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func token(s *session.Session) *cobra.Command {
	var i client.ServerInvitation
	var dry session.DryRun
	valid := 24 * time.Hour
	cmd := verb(s, &cobra.Command{
		Use:   "token",
		Short: "Create a token with which one server joins",
		Long: "Create a token with which one server joins, once. The server is sold by the offer of its datacenter\n" +
			"that lists its hardware, unless --offer names one. The token is printed alone; what to run on the\n" +
			"server is told on standard error.",
		Example: session.Lines(
			"cpucloud provider token",
			"cpucloud provider token --datacenter de-fra-1 --name rack1 --valid 48h",
			"cpucloud provider token --offer epyc --dry-run",
			"ssh rack1 CPUCLOUD_JOIN_TOKEN=$(cpucloud provider token) cpucloud agent join --server $CPUCLOUD_URL",
		),
		Args: cobra.NoArgs,
	}, func(ctx context.Context, at seat, _ []string) error {
		if valid < time.Hour || valid%time.Hour != 0 {
			return fault.New(fault.Invalid, "--valid has to be a number of whole hours, such as 24h")
		}
		i.ValidHours = int(valid / time.Hour)
		var err error
		if i.Datacenter == "" {
			if i.Datacenter, err = at.onlyPlace(ctx); err != nil {
				return err
			}
		}
		made, err := dry.Of(at.cloud).CreateServerToken(ctx, at.provider, i)
		if err != nil {
			return err
		}
		if dry {
			dry.Note(at.Session)
			return session.PrintUntil(at.Session, made, made.ExpiresAt)
		}
		at.Notef("Good for one server in %s until %s UTC. Run there:", i.Datacenter, when(made.ExpiresAt))
		at.Notef("CPUCLOUD_JOIN_TOKEN=%s cpucloud agent join --server %s", made.Token, at.cloud.URL())
		var bare session.Table
		bare.Add(made.Token)
		return at.Print(made, bare)
	})
	dry.Bind(cmd)
	f := cmd.Flags()
	f.StringVar(&i.Datacenter, "datacenter", "", "where the server stands, such as de-fra-1 (default the only datacenter)")
	f.StringVar(&i.Offer, "offer", "", "name of the offer that sells it (default the one that lists its hardware)")
	f.StringVar(&i.Name, "name", "", "what to call the server (default its host name)")
	f.DurationVar(&valid, "valid", valid, "how long the token is good")
	session.CompleteFlag(cmd, "datacenter", complete(s, places))
	session.CompleteFlag(cmd, "offer", complete(s, offers))
	for _, flag := range []string{"name", "valid"} {
		session.CompleteFlag(cmd, flag, cobra.NoFileCompletions)
	}
	return cmd
}

// onlyPlace returns the datacenter of a provider that has just one.
func (at seat) onlyPlace(ctx context.Context) (string, error) {
	all, err := places(ctx, at)
	if err != nil {
		return "", err
	}
	switch len(all) {
	case 0:
		return "", fault.Newf(fault.Invalid, "%s has no datacenter yet: declare one with `cpucloud provider apply`", session.Clean(at.provider))
	case 1:
		return all[0], nil
	}
	return "", fault.Newf(fault.Invalid, "which datacenter? give --datacenter with one of %s", session.Clean(strings.Join(all, ", ")))
}

// places returns the slugs of the provider's datacenters.
func places(ctx context.Context, at seat) ([]string, error) {
	l, err := at.cloud.Listing(ctx, at.provider)
	slugs := make([]string, len(l.Datacenters))
	for i, d := range l.Datacenters {
		slugs[i] = strings.ToLower(fmt.Sprintf("%s-%s-%d", d.Country, d.City, d.Index))
	}
	return slugs, err
}

// offers returns the names of the provider's offers.
func offers(ctx context.Context, at seat) ([]string, error) {
	l, err := at.cloud.Listing(ctx, at.provider)
	words := make([]string, len(l.Offers))
	for i, o := range l.Offers {
		words[i] = o.Name
	}
	return words, err
}
