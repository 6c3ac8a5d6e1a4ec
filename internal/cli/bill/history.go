package bill

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/cli/vm"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// pageSize is how many entries are asked for at once.
const pageSize = 500

func history(s *session.Session) *cobra.Command {
	var o client.HistoryOptions
	var since, until string
	limit := 50
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List what moved your money",
		Long: "List the entries that moved your money, the newest first: what each added to the balance and to the\n" +
			"reserves of VMs. A VM is named as for `cpucloud vm show`; one that is gone, by its whole id.",
		Example: session.Lines(
			"cpucloud bill history",
			"cpucloud bill history --vm web --kind charge,return",
			"cpucloud bill history --since 2026-11-01 --until 2026-12-01 --limit 0 -o json",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, kind := range o.Kinds {
				if !slices.Contains(kinds, kind) {
					return fault.Newf(fault.Invalid, "--kind %q is none of %s", kind, strings.Join(kinds, ", "))
				}
			}
			if limit < 0 {
				return fault.New(fault.Invalid, "--limit is a number of entries, or 0 for all")
			}
			var err error
			if o.From, err = session.Moment("--since", since, s.Now); err != nil {
				return err
			}
			if o.To, err = session.Moment("--until", until, s.Now); err != nil {
				return err
			}
			return list(s, cmd, o, limit)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.VM, "vm", "", "only what is about this VM")
	flags.StringVarP(&o.Labels, "selector", "l", "", "only what is about VMs whose labels are so, such as env=prod,tier!=web")
	flags.StringSliceVar(&o.Kinds, "kind", nil, "only these kinds: "+strings.Join(kinds, ", "))
	flags.StringVar(&since, "since", "", "only from then on: a date, a time of RFC 3339, or a duration such as 30d")
	flags.StringVar(&until, "until", "", "only before then")
	flags.IntVar(&limit, "limit", limit, "how many entries at most; 0 for all")
	session.CompleteFlag(cmd, "vm", vm.Names(s))
	session.CompleteFlag(cmd, "kind", session.Words(kinds...))
	for _, flag := range []string{"since", "until", "limit", "selector"} {
		session.CompleteFlag(cmd, flag, cobra.NoFileCompletions)
	}
	return cmd
}

func list(s *session.Session, cmd *cobra.Command, o client.HistoryOptions, limit int) error {
	cloud, err := s.Cloud()
	if err != nil {
		return err
	}
	if o.VM != "" && !vm.WholeID(o.VM) {
		v, err := vm.Find(cmd.Context(), cloud, o.VM)
		if err != nil {
			return err
		}
		o.VM = v.ID
	}
	o.PageSize = pageSize
	if limit > 0 {
		o.PageSize = min(limit, pageSize)
	}
	entries := []client.Entry{}
	for e, err := range cloud.History(cmd.Context(), o) {
		if err != nil {
			return err
		}
		if limit > 0 && len(entries) == limit {
			s.Notef("There are more: give a larger --limit, or 0 for all.")
			break
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		s.Notef("No entries.")
	}
	t := session.Table{Header: []string{"time", "kind", "balance", "reserve", "vm", "epoch", "reason"}}
	for _, e := range entries {
		epoch := "-"
		if e.Epoch != nil {
			epoch = strconv.FormatInt(*e.Epoch, 10)
		}
		t.Add(when(e.At), e.Kind, signed(e.BalanceChange), signed(e.ReservedChange), text(e.VMName), epoch, e.Reason)
	}
	return s.Print(entries, t)
}

// signed shows what is added with a plus, and nothing as nothing.
func signed(change client.Amount) string {
	switch {
	case change == "0":
		return ""
	case strings.HasPrefix(change, "-"):
		return change
	}
	return "+" + change
}
