package market

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// Estimate is the command that says what a deployment would cost.
func Estimate(s *session.Session) *cobra.Command {
	var want Constraints
	instances := 1
	cmd := &cobra.Command{
		Use:   "estimate",
		Short: "Say what VMs would cost, without making any",
		Long:  "Say what VMs would cost, without making any. `cpucloud quote` knows more filters, and holds what it says.",
		Example: session.Lines(
			"cpucloud estimate",
			"cpucloud estimate --config cpu-2-ram-4gb-storage-25gb --country US --instances 3",
			"cpucloud estimate --extra-storage 50 -o json | jq -r .depositAmountUsdc",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			constraints, err := want.Value()
			if err != nil {
				return err
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			e, err := cloud.Estimate(cmd.Context(), constraints, instances)
			if err != nil {
				request := client.Placing{Constraints: client.Wishes{Constraints: constraints}, Instances: instances}
				return Explained(cmd.Context(), s, cloud, request, err)
			}
			var t session.Table
			t.Add("instances:", fmt.Sprint(e.Instances))
			addPrices(&t, e)
			return s.Print(e, t)
		},
	}
	want.Bind(s, cmd)
	cmd.Flags().IntVarP(&instances, "instances", "n", instances, "how many VMs")
	return cmd
}
