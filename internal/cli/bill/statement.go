package bill

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// formats are how a statement can be had.
var formats = []string{"table", "json", "csv", "html"}

func statement(s *session.Session) *cobra.Command {
	month, format := "", ""
	cmd := &cobra.Command{
		Use:   "statement",
		Short: "Show or save the statement of a month",
		Long: "Show what there was at the beginning of a month in UTC, every entry, and what there was at the end; and\n" +
			"what was spent by VM, day and resource. CSV is for spreadsheets, HTML a page to be printed.",
		Example: session.Lines(
			"cpucloud bill statement",
			"cpucloud bill statement --month 2026-11 --format csv > november.csv",
			"cpucloud bill statement --month 2026-11 --format html > november.html",
			"cpucloud bill statement -o json | jq -r '.spend.byVm[] | [.vmName, .net] | @tsv'",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "" && !slices.Contains(formats, format) {
				return fault.Newf(fault.Invalid, "--format %q is none of %s", format, strings.Join(formats, ", "))
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			switch format {
			case "csv", "html":
				return cloud.WriteStatement(cmd.Context(), month, format, visible{s.Out})
			case "table", "json":
				s.Format = session.Format(format)
			}
			st, err := cloud.Statement(cmd.Context(), month)
			if err != nil {
				return err
			}
			if st.AsOf.Before(st.To) {
				s.Notef("%s is not over: this is what happened until %s UTC.", st.Month, when(st.AsOf))
			}
			if s.Format != session.TableFormat {
				return s.Print(st, session.Table{})
			}
			return printTables(s, statementTables(st))
		},
	}
	cmd.Flags().StringVar(&month, "month", "", "which month, such as 2026-11 (default this one)")
	cmd.Flags().StringVar(&format, "format", "", "how to print it: "+strings.Join(formats, ", ")+" (default as --output says)")
	session.CompleteFlag(cmd, "month", cobra.NoFileCompletions)
	session.CompleteFlag(cmd, "format", session.Words(formats...))
	return cmd
}

// printTables prints tables with a line between them.
func printTables(s *session.Session, tables []session.Table) error {
	for i, t := range tables {
		if i > 0 {
			if _, err := io.WriteString(s.Out, "\n"); err != nil {
				return err
			}
		}
		if err := s.Print(nil, t); err != nil {
			return err
		}
	}
	return nil
}

func statementTables(st client.Statement) []session.Table {
	entries := session.Table{Header: []string{"time", "kind", "vm", "to balance", "to reserve", "balance", "reserved", "reason"}}
	edge := func(kind string, at time.Time, p client.Purse) {
		entries.Add(when(at), kind, "", "", "", p.Balance, p.Reserved, "")
	}
	edge("opening", st.From, st.Opening)
	for _, e := range st.Entries {
		entries.Add(when(e.At), e.Kind, text(e.VMName), signed(e.BalanceChange), signed(e.ReservedChange), e.Balance, e.Reserved, e.Reason)
	}
	edge("closing", st.AsOf, st.Closing)
	tables := []session.Table{entries}
	kinds := session.Table{Header: []string{"kind", "entries", "usdc"}}
	for _, k := range st.Kinds {
		kinds.Add(k.Kind, strconv.FormatInt(k.Count, 10), k.Amount)
	}
	tables = append(tables, kinds)
	for _, by := range []client.Spend{
		{By: "vm", Rows: st.Spend.ByVM, Rest: st.Spend.Rest}, {By: "day", Rows: st.Spend.ByDay}, {By: "resource", Rows: st.Spend.ByResource},
	} {
		t := spendTable(by)
		if by.By == "resource" && len(by.Rows) > 0 {
			add(&t, "all", st.Spend.Total)
		}
		tables = append(tables, t)
	}
	return slices.DeleteFunc(tables, func(t session.Table) bool { return len(t.Rows) == 0 })
}

// visible keeps from a terminal what it would obey rather than show.
type visible struct{ w io.Writer }

// Write writes text with question marks for control characters.
func (v visible) Write(text []byte) (int, error) {
	clean := slices.Clone(text)
	for i, c := range clean {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			clean[i] = '?'
		}
	}
	return v.w.Write(clean)
}
