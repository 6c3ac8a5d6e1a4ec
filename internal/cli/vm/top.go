package vm

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// topEvery is how often the picture is drawn anew: the cloud hears of a VM once a minute.
const topEvery = 10 * time.Second

// orders are what VMs can be sorted by: the most comes first.
var orders = map[string]func(u client.LatestUse) float64{
	"cpu":    func(u client.LatestUse) float64 { return known(u.CPU) },
	"steal":  func(u client.LatestUse) float64 { return known(u.Steal) },
	"memory": func(u client.LatestUse) float64 { return known(u.Memory) },
	"disk":   func(u client.LatestUse) float64 { return known(u.ReadBytes) + known(u.WriteBytes) },
	"net":    func(u client.LatestUse) float64 { return known(u.BytesIn) + known(u.BytesOut) },
}

var orderNames = []string{"cpu", "steal", "memory", "disk", "net", "name"}

// known returns a figure; what isn't known comes behind all that is.
func known(f *float64) float64 {
	if f == nil {
		return -1
	}
	return *f
}

func top(s *session.Session) *cobra.Command {
	order, once := "cpu", false
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show what your virtual machines use now",
		Long: "Show what each of your virtual machines used in the last minute, the busiest first. At a terminal the\n" +
			"picture is drawn anew until Ctrl-C; elsewhere, and with -o json or yaml, it is printed once.\n\n" +
			"STEAL is how many processors the machine had to wait for, because others on its server used them\n" +
			"or it had used all that it may. MEMORY is what its guest has touched since it started.",
		Example: session.Lines(
			"cpucloud vm top",
			"cpucloud vm top --sort net --once",
			"cpucloud vm top -o json | jq -r '.[] | select(.cpuShare > 0.9) | .vmName'",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(orderNames, order) {
				return fault.Newf(fault.Malformed, "--sort is one of %s", strings.Join(orderNames, ", "))
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			if _, terminal := s.TerminalWidth(s.Out); terminal && !once && s.Format == session.TableFormat {
				return watchTop(cmd.Context(), s, cloud, order)
			}
			list, err := sortedTop(cmd.Context(), cloud, order)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				s.Notef("No VMs. Create one with `cpucloud vm create NAME`.")
			}
			return s.Print(list, topTable(list, 0))
		},
	}
	cmd.Flags().StringVar(&order, "sort", order, "what comes first: "+strings.Join(orderNames, ", "))
	cmd.Flags().BoolVar(&once, "once", false, "print it once, at a terminal too")
	session.CompleteFlag(cmd, "sort", session.Words(orderNames...))
	return cmd
}

func sortedTop(ctx context.Context, cloud *client.Client, order string) ([]client.LatestUse, error) {
	list, err := cloud.LatestMetrics(ctx)
	slices.SortStableFunc(list, func(a, b client.LatestUse) int {
		first := 0
		if of := orders[order]; of != nil {
			first = cmp.Compare(of(b), of(a))
		}
		return cmp.Or(first, strings.Compare(a.Name, b.Name))
	})
	return list, err
}

// watchTop draws the picture again and again until ctx is cancelled. One that can't be
// had is tried again: the last one stays.
func watchTop(ctx context.Context, s *session.Session, cloud *client.Client, order string) error {
	tick := time.NewTicker(topEvery)
	defer tick.Stop()
	for shown := false; ; shown = true {
		list, err := sortedTop(ctx, cloud, order)
		width, _ := s.TerminalWidth(s.Out)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !shown:
			return err
		case err != nil:
			s.Notef("%v", err)
		default:
			const home, clear = "\x1b[H", "\x1b[J"
			head := fmt.Sprintf("%s   %d VMs   Ctrl-C ends", when(s.Now()), len(list))
			fmt.Fprint(s.Out, home+clear+head+"\n\n")
			if err := s.Print(list, topTable(list, width)); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// topTable shows VMs, with the columns that fit into width, 0 for all.
func topTable(list []client.LatestUse, width int) session.Table {
	t := session.Table{Header: []string{"name", "status", "cpu", "of", "steal", "memory", "of", "read/s", "write/s", "in/s", "out/s", "since"}}
	for _, u := range list {
		at := "-"
		if u.At != nil {
			at = u.At.UTC().Format("15:04")
		}
		t.Add(u.Name, u.Status, count(u.CPU), fmt.Sprint(u.VCPU), count(u.Steal), size64(u.Memory), bytesOf(float64(u.MemoryTotal)),
			size64(u.ReadBytes), size64(u.WriteBytes), size64(u.BytesIn), size64(u.BytesOut), at)
	}
	const needed, least = 120, 7 // columns of a terminal for all; of the table that are always there
	if width > 0 && width < needed {
		t.Header = t.Header[:least]
		for i := range t.Rows {
			t.Rows[i] = t.Rows[i][:least]
		}
	}
	return t
}

func count(f *float64) string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f", *f)
}

func size64(f *float64) string {
	if f == nil {
		return "-"
	}
	return bytesOf(*f)
}

// bytesOf writes bytes with three digits or so.
func bytesOf(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n >= 1000 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if i == 0 || n >= 100 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}
