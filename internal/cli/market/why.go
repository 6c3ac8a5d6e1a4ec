package market

import (
	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// Why is the command that says why nothing fits.
func Why(s *session.Session) *cobra.Command {
	var want Placing
	cmd := &cobra.Command{
		Use:   "why",
		Short: "Say why no offer fits, and what to change",
		Long: "Say how many servers each filter rules out: alone, and of those that the filters above it leave.\n" +
			"Where the VMs can't be had, the smallest changes of one filter with which they can follow,\n" +
			"cheapest first. Nothing is made.",
		Example: session.Lines(
			"cpucloud why --country FR --max-price 0.2",
			"cpucloud why --min-tier 3 --min-cpu-score 1000 --instances 20",
			"cpucloud why --country FR -o json | jq -r '.relaxations[].change'",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := want.Request()
			if err != nil {
				return err
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			e, err := cloud.Explain(cmd.Context(), request)
			if err != nil {
				return err
			}
			if s.Format != session.TableFormat {
				return s.Print(e, session.Table{})
			}
			text, err := explanation(s, request, e)
			if err != nil {
				return err
			}
			_, err = s.Out.Write([]byte(text))
			return err
		},
	}
	want.Bind(s, cmd)
	return cmd
}
