package market

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// Quote is the command that holds a price and its places.
func Quote(s *session.Session) *cobra.Command {
	var want Placing
	var dry session.DryRun
	hold := 2 * time.Minute
	cmd := &cobra.Command{
		Use:   "quote",
		Short: "Hold a price and its places for some minutes",
		Long: "Hold what `cpucloud vm create` with the same filters would get now, at its price. It costs nothing\n" +
			"and expires by itself; until then nobody else can rent the places.",
		Example: session.Lines(
			"cpucloud quote --config cpu-2-ram-4gb-storage-25gb --country US --instances 3",
			"cpucloud quote --min-tier 3 --strategy spread --anti-affinity db -n 3 --hold 5m",
			"cpucloud quote -n 20 --dry-run",
			"cpucloud vm create web --quote \"$(cpucloud quote --max-price 1 -o json | jq -r .id)\"",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := want.Request()
			if err != nil {
				return err
			}
			if hold <= 0 {
				return fault.New(fault.Invalid, "--hold has to be longer than nothing, such as 2m")
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			q, err := dry.Of(cloud).Quote(cmd.Context(), request, hold)
			if err != nil {
				return Explained(cmd.Context(), s, cloud, request, err)
			}
			dry.Note(s)
			return s.Print(held{q.ID, q}, quoteTable(q, hold, bool(dry)))
		},
	}
	want.Bind(s, cmd)
	dry.Bind(cmd)
	cmd.Flags().DurationVar(&hold, "hold", hold, "for how long, 1m to 5m")
	session.CompleteFlag(cmd, "hold", session.Words("1m", "2m", "5m"))
	return cmd
}

// held is a quote with an id by the name that all printed things have.
type held struct {
	ID string `json:"id"`
	client.Quote
}

func quoteTable(q client.Quote, hold time.Duration, dry bool) session.Table {
	command := "cpucloud vm create NAME --quote " + q.ID
	if q.Instances != 1 {
		command += fmt.Sprintf(" --instances %d", q.Instances)
	}
	var t session.Table
	if !dry {
		t.Add("id:", q.ID)
	}
	t.Add("instances:", fmt.Sprint(q.Instances))
	t.Add("configuration:", fmt.Sprintf("%s, %d GiB disk", q.Configuration, q.StorageGiB))
	addPrices(&t, q.Estimate)
	t.Add("held for:", fmt.Sprintf("%s, until %s UTC", hold, q.ExpiresAt.UTC().Format(time.DateTime)))
	if !dry {
		t.Add("take it:", command)
	}
	return t
}

func addPrices(t *session.Table, e client.Estimate) {
	t.Add("per epoch:", e.Total+" USDC")
	t.Add("dearest instance:", e.Max+" USDC per epoch")
	t.Add("deposit:", fmt.Sprintf("%s USDC, %d epochs", e.Deposit, e.DepositEpochs))
}
