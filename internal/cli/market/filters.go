package market

import (
	"context"
	"math"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// Filters are the flags of Constraints, and those for everything else that an
// offer can be asked to be.
type Filters struct {
	Constraints
	wishes client.Wishes // all but its constraints
	flags  []string      // the names of all
	news   []string      // the names of those that Constraints lacks
}

// figure is a flag for what was measured.
type figure struct {
	flag  string
	value *float64
	usage string
}

func (f *Filters) figures() []figure {
	m := &f.wishes.MinMeasured
	return []figure{
		{"min-cpu-score", &m.CPUSingle, "least measured score of one thread"},
		{"min-cpu-all", &m.CPUAll, "least measured score of all threads at once"},
		{"min-memory-speed", &m.Memory, "least measured speed of the memory in MiB/s"},
		{"min-disk-read", &m.DiskRead, "least measured speed of reading in MiB/s"},
		{"min-disk-write", &m.DiskWrite, "least measured speed of writing in MiB/s"},
		{"min-iops", &m.DiskIOPS, "fewest measured random reads of 4 KiB per second"},
		{"max-fsync", &m.DiskFsync, "longest measured time until a write is durable, in ms"},
		{"max-latency", &m.Network, "longest measured way to the control plane and back, in ms"},
	}
}

// Bind adds the flags to cmd.
func (f *Filters) Bind(s *session.Session, cmd *cobra.Command) {
	w, flags := &f.wishes, cmd.Flags()
	before := namesOf(flags)
	f.Constraints.Bind(s, cmd)
	known := namesOf(flags)
	flags.StringSliceVar(&w.Providers, "provider", nil, "provider by name or id; any of several")
	flags.StringSliceVar(&w.ExcludeProviders, "exclude-provider", nil, "provider to stay away from")
	flags.StringSliceVar(&w.Datacenters, "datacenter", nil, "datacenter, such as us-nyc-1; any of several")
	flags.StringSliceVar(&w.ExcludeDatacenters, "exclude-datacenter", nil, "datacenter to stay away from")
	flags.IntVar(&w.MinTier, "min-tier", 0, "least tier of the datacenter, 1 to 4")
	flags.StringSliceVar(&w.Certifications, "certification", nil, "certification of the datacenter, such as \"ISO 27001\"; all of several")
	for _, x := range f.figures() {
		flags.Float64Var(x.value, x.flag, 0, x.usage)
		session.CompleteFlag(cmd, x.flag, cobra.NoFileCompletions)
	}
	f.flags = namesOf(flags, before...)
	f.news = namesOf(flags, append(before, known...)...)
	f.complete(s, cmd)
}

// namesOf returns the names of flags without some of them.
func namesOf(flags *pflag.FlagSet, without ...string) (names []string) {
	flags.VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(without, f.Name) {
			names = append(names, f.Name)
		}
	})
	return names
}

func (f *Filters) complete(s *session.Session, cmd *cobra.Command) {
	places := s.Complete(func(ctx context.Context, cloud *client.Client) (slugs []string, err error) {
		all, err := cloud.Datacenters(ctx)
		for _, d := range all {
			slugs = append(slugs, PlaceOf(d))
		}
		return slugs, err
	})
	sellers := s.Complete(providers)
	session.CompleteFlag(cmd, "datacenter", places)
	session.CompleteFlag(cmd, "exclude-datacenter", places)
	session.CompleteFlag(cmd, "provider", sellers)
	session.CompleteFlag(cmd, "exclude-provider", sellers)
	session.CompleteFlag(cmd, "min-tier", session.Words("1", "2", "3", "4"))
	session.CompleteFlag(cmd, "certification", s.Complete(func(ctx context.Context, cloud *client.Client) (names []string, err error) {
		all, err := cloud.Datacenters(ctx)
		for _, d := range all {
			names = append(names, d.Certifications...)
		}
		slices.Sort(names)
		return slices.Compact(names), err
	}))
}

// providers returns who sells the cheapest offers; there is no list of all.
func providers(ctx context.Context, cloud *client.Client) (names []string, err error) {
	offers, _, err := cloud.OffersPage(ctx, client.OfferQuery{Limit: pageSize})
	for _, o := range offers {
		names = append(names, o.Provider)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// Wishes returns what all the flags say, or an Invalid fault.
func (f *Filters) Wishes() (client.Wishes, error) {
	w := f.wishes
	for _, x := range f.figures() {
		if v := *x.value; v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			return w, fault.Newf(fault.Invalid, "--%s is %v; it has to be a number from 0 on", x.flag, v)
		}
	}
	var err error
	w.Constraints, err = f.Value()
	return w, err
}

// Given returns which of the flags were given to cmd.
func (f *Filters) Given(cmd *cobra.Command) []string { return given(cmd, f.flags) }

// News returns which of the flags that Constraints lacks were given to cmd.
func (f *Filters) News(cmd *cobra.Command) []string { return given(cmd, f.news) }

func given(cmd *cobra.Command, flags []string) (set []string) {
	for _, name := range flags {
		if cmd.Flags().Changed(name) {
			set = append(set, "--"+name)
		}
	}
	return set
}
