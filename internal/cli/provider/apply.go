package provider

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// wish is what the flags of apply say.
type wish struct {
	path     string
	provider *string
	dry      session.DryRun
	yes      bool
}

func apply(s *session.Session) *cobra.Command {
	var w wish
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Make what is listed what a file says",
		Long: "Make what is listed what a file says. The file is complete: an offer that is left out is withdrawn.\n" +
			"New prices hold for new VMs; those that run keep theirs. All that is wrong is told at once, with its\n" +
			"line. On a terminal the changes are shown and have to be confirmed, unless --yes is given.\n\n" +
			"A file for a start:\n\n" +
			"  datacenters:\n" +
			"    - {country: DE, city: FRA, index: 1, tier: 3}\n" +
			"  offers:\n" +
			"    - name: standard\n" +
			"      datacenter: de-fra-1\n" +
			"      prices: {vcpu: \"0.05\", ram: \"0.02\", storage: \"0.004\", address: \"0.02\"}",
		Example: session.Lines(
			"cpucloud provider apply -f offers.yaml --dry-run",
			"cpucloud provider apply -f offers.yaml",
			"cpucloud provider export | sed 's/\"0.05\"/\"0.06\"/' | cpucloud provider apply -f -",
			"cpucloud provider apply -f offers.yaml --yes -o json",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return w.run(cmd.Context(), s)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&w.path, "file", "f", "offers.yaml", "the file, - for standard input")
	w.dry.Bind(cmd)
	f.BoolVarP(&w.yes, "yes", "y", false, "do not ask")
	w.provider = bind(s, cmd)
	return cmd
}

func (w *wish) run(ctx context.Context, s *session.Session) error {
	f, err := read(s, w.path)
	if err != nil {
		return err
	}
	wanted, err := as[client.Listing](f.listing)
	if err != nil {
		return err
	}
	at, err := sit(ctx, s, *w.provider, f.listing.Provider)
	if err != nil {
		return err
	}
	plan, err := at.cloud.ApplyListing(ctx, at.provider, wanted, true)
	switch {
	case err != nil:
		return f.refused(s, err)
	case effective(plan.Changes) == 0:
		s.Notef("Nothing to change.")
		return at.result(plan)
	case bool(w.dry):
		w.dry.Note(s)
		return at.result(plan)
	}
	if _, terminal := s.TerminalWidth(s.In); terminal && !w.yes && w.path != "-" {
		if yes, err := at.confirm(plan); err != nil || !yes {
			return err
		}
	}
	done, err := at.cloud.ApplyListing(ctx, at.provider, wanted, false)
	if err != nil {
		return f.refused(s, err)
	}
	s.Notef("%s: applied %s.", at.provider, count(effective(done.Changes), "change"))
	return at.result(done)
}

// result prints what changed or would.
func (at seat) result(a client.Applied) error {
	if at.Format == session.TableFormat {
		return at.show(at.Out, a.Changes)
	}
	return at.Print(a, session.Table{})
}

// confirm shows the changes beside the question, not among the results.
func (at seat) confirm(plan client.Applied) (bool, error) {
	if err := at.show(at.Err, plan.Changes); err != nil {
		return false, err
	}
	yes, err := at.Confirm(fmt.Sprintf("Make %s to what %s lists?", count(effective(plan.Changes), "change"), at.provider), "--yes")
	if err == nil && !yes {
		at.Notef("Nothing was changed.")
	}
	return yes, err
}

// show writes changes, in colours on a terminal.
func (at seat) show(to io.Writer, changes []client.Change) error {
	_, terminal := at.TerminalWidth(to)
	_, err := io.WriteString(to, diff(changes, terminal && at.Env("NO_COLOR") == ""))
	return err
}
