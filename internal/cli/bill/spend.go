package bill

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// sums are what spend can be summed up by.
var sums = []string{"day", "resource", "vm"}

func spend(s *session.Session) *cobra.Command {
	by, since, until, labels := "vm", "", "", ""
	cmd := &cobra.Command{
		Use:   "spend",
		Short: "Sum up what your VMs cost by VM, day or resource",
		Long: "Sum up what your VMs were charged, less what was returned of epochs that were not delivered: of this\n" +
			"month until now unless told. By resource, each charge is divided as the VM's price was at its deploy.",
		Example: session.Lines(
			"cpucloud bill spend",
			"cpucloud bill spend --by resource --since 30d",
			"cpucloud bill spend -l env=prod,tier!=web",
			"cpucloud bill spend --by day --since 2026-11-01 --until 2026-12-01 -o json",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(sums, by) {
				return fault.Newf(fault.Invalid, "--by %q is none of %s", by, strings.Join(sums, ", "))
			}
			from, err := session.Moment("--since", since, s.Now)
			if err != nil {
				return err
			}
			to, err := session.Moment("--until", until, s.Now)
			if err != nil {
				return err
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			all, err := cloud.Spend(cmd.Context(), by, from, to, labels)
			if err != nil {
				return err
			}
			s.Notef("%s USDC from %s until %s UTC.", all.Total.Net, when(all.From), when(all.To))
			return s.Print(all, spendTable(all))
		},
	}
	cmd.Flags().StringVar(&by, "by", by, "what to sum up by: "+strings.Join(sums, ", "))
	cmd.Flags().StringVar(&since, "since", "", "only from then on: a date, a time of RFC 3339, or a duration such as 30d (default this month)")
	cmd.Flags().StringVar(&until, "until", "", "only before then (default now)")
	cmd.Flags().StringVarP(&labels, "selector", "l", "", "only VMs whose labels are so, such as env=prod,tier!=web")
	session.CompleteFlag(cmd, "selector", cobra.NoFileCompletions)
	session.CompleteFlag(cmd, "by", session.Words(sums...))
	session.CompleteFlag(cmd, "since", cobra.NoFileCompletions)
	session.CompleteFlag(cmd, "until", cobra.NoFileCompletions)
	return cmd
}

func spendTable(all client.Spend) session.Table {
	t := session.Table{Header: []string{all.By, "epochs", "charged", "returned", "net"}}
	if all.By == "vm" {
		t.Header = append(t.Header, "id")
	}
	for _, r := range all.Rows {
		if all.By == "vm" {
			add(&t, r.VMName, r.SpendSums, r.Key)
		} else {
			add(&t, r.Key, r.SpendSums)
		}
	}
	if all.Rest != nil {
		add(&t, "others", *all.Rest)
	}
	return t
}

func add(t *session.Table, name string, s client.SpendSums, more ...string) {
	t.Add(append([]string{name, strconv.FormatInt(s.Epochs, 10), s.Charged, s.Returned, s.Net}, more...)...)
}
