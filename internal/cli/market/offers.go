package market

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// search is what the flags of offers say.
type search struct {
	want  Filters
	sort  string
	limit int
	all   bool
}

// Offers is the command that searches the marketplace.
func Offers(s *session.Session) *cobra.Command {
	q := search{sort: client.SortPrice, limit: 100}
	cmd := &cobra.Command{
		Use:   "offers",
		Short: "Search the marketplace for servers with room for a VM",
		Long: "Search the marketplace. Every line is one configuration on alike servers of an offer; FREE says how\n" +
			"many such VMs have room. An epoch is the billing period of a VM: 24 hours. MEASURED is the score of\n" +
			"one thread of the best server, with the age of the oldest benchmark; -o json has all figures.\n" +
			"Where nothing fits, the reasons are shown.",
		Example: session.Lines(
			"cpucloud offers --country US,DE --max-price 1.50",
			"cpucloud offers --config cpu-4-ram-8gb-storage-25gb --cpu AMD --extra-storage 100:NVMe",
			"cpucloud offers --min-tier 3 --min-cpu-score 900 --max-latency 40 --sort cpuSingle --limit 10",
			"cpucloud offers --all -o json | jq -r '.[0].configuration.slug'",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return q.run(cmd.Context(), s) },
	}
	q.want.Bind(s, cmd)
	f := cmd.Flags()
	f.StringVar(&q.sort, "sort", q.sort, "price: cheapest first; free: most VMs first; or a measured figure: best first")
	f.IntVar(&q.limit, "limit", q.limit, "how many lines at most")
	f.BoolVar(&q.all, "all", false, "all lines, however many")
	cmd.MarkFlagsMutuallyExclusive("limit", "all")
	session.CompleteFlag(cmd, "sort", session.Words(client.SortPrice, client.SortFree,
		"cpuSingle", "cpuAll", "memory", "diskRead", "diskWrite", "diskIops", "diskFsync", "network"))
	session.CompleteFlag(cmd, "limit", cobra.NoFileCompletions)
	return cmd
}

func (q *search) run(ctx context.Context, s *session.Session) error {
	wishes, err := q.want.Wishes()
	if err != nil {
		return err
	}
	if q.limit < 1 {
		return fault.Newf(fault.Invalid, "--limit is %d; it has to be 1 or more", q.limit)
	}
	cloud, err := s.Cloud()
	if err != nil {
		return err
	}
	offers, more, err := q.find(ctx, cloud, wishes)
	if err != nil {
		return err
	}
	if len(offers) == 0 {
		sayWhy(ctx, s, cloud, client.Placing{Constraints: wishes, Instances: 1})
	}
	if err := s.Print(identified(offers), offerTable(offers, s.Now())); err != nil {
		return err
	}
	if more {
		s.Notef("There is more: --limit %d shows twice as much, --all everything.", 2*len(offers))
	}
	return nil
}

// pageSize is the most offers that the API gives at once.
const pageSize = 1000

// find returns the first offers, as many as are wanted, and whether there are
// more.
func (q *search) find(ctx context.Context, cloud *client.Client, wishes client.Wishes) (found []client.OfferSummary, more bool, err error) {
	query := client.OfferQuery{Wishes: wishes, Sort: q.sort}
	for {
		query.Limit = pageSize
		if !q.all {
			query.Limit = min(pageSize, q.limit-len(found))
		}
		page, next, err := cloud.OffersPage(ctx, query)
		if err != nil {
			return nil, false, err
		}
		found = append(found, page...)
		switch {
		case next == "" || len(page) == 0:
			return found, false, nil
		case !q.all && len(found) >= q.limit:
			return found, true, nil
		}
		query.Cursor = next
	}
}

// sayWhy tells the user that nothing fits, with the reasons if they can be had.
func sayWhy(ctx context.Context, s *session.Session, cloud *client.Client, request client.Placing) {
	text := reasonsOf(ctx, s, cloud, request)
	if text == "" {
		s.Notef("Nothing fits. Loosen a filter, or see everything with `cpucloud offers`.")
		return
	}
	s.Notef("Nothing fits.")
	_, _ = s.Err.Write([]byte(text)) // there is nowhere left to complain
}
