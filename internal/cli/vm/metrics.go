package vm

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// column is one figure of a VM, as it is shown.
type column struct {
	name string
	of   func(client.Used) *float64
	show func(*float64) string
}

var columns = []column{
	{"cpu", func(u client.Used) *float64 { return u.CPU }, count},
	{"steal", func(u client.Used) *float64 { return u.Steal }, count},
	{"memory", func(u client.Used) *float64 { return u.Memory }, size64},
	{"read/s", func(u client.Used) *float64 { return u.ReadBytes }, size64},
	{"write/s", func(u client.Used) *float64 { return u.WriteBytes }, size64},
	{"reads/s", func(u client.Used) *float64 { return u.Reads }, count},
	{"writes/s", func(u client.Used) *float64 { return u.Writes }, count},
	{"in/s", func(u client.Used) *float64 { return u.BytesIn }, size64},
	{"out/s", func(u client.Used) *float64 { return u.BytesOut }, size64},
}

func metrics(s *session.Session) *cobra.Command {
	var from, to, step string
	points := false
	cmd := &cobra.Command{
		Use:   "metrics NAME|ID",
		Short: "Show what a virtual machine used over time",
		Long: "Show what a virtual machine used over time, as its server sees it: a small picture of each figure, or\n" +
			"with --points, -o json or yaml all of it. What isn't known is a gap: the machine did not run, or nothing\n" +
			"was heard of its server. Points of 15 seconds are kept for two hours, of a minute for a day, of ten\n" +
			"minutes for 14 days.",
		Example: session.Lines(
			"cpucloud vm metrics web",
			"cpucloud vm metrics web --from 24h",
			"cpucloud vm metrics web --from 2026-01-31T12:00:00Z --to 2026-01-31T13:00:00Z --step 1m --points",
			"cpucloud vm metrics web --from 14d -o json | jq '[.points[].cpuShare] | max'",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: only(Names(s)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := metricsOptions(s, from, to, step)
			if err != nil {
				return err
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			v, err := Find(cmd.Context(), cloud, args[0])
			if err != nil {
				return err
			}
			m, err := cloud.VMMetrics(cmd.Context(), v.ID, o)
			if err != nil {
				return err
			}
			if points {
				return s.Print(m, pointTable(m))
			}
			return s.Print(m, pictures(m))
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "when to begin: a time, a date, or how long ago, such as 24h or 14d; an hour ago unless given")
	cmd.Flags().StringVar(&to, "to", "", "when to end, likewise; now unless given")
	cmd.Flags().StringVar(&step, "step", "", "time from point to point, such as 1m, a multiple of 15s; one that suits unless given")
	cmd.Flags().BoolVar(&points, "points", false, "list all points")
	return cmd
}

func metricsOptions(s *session.Session, from, to, step string) (o client.MetricsOptions, err error) {
	if o.From, err = session.Moment("--from", from, s.Now); err != nil {
		return o, err
	}
	if o.To, err = session.Moment("--to", to, s.Now); err != nil {
		return o, err
	}
	if step != "" {
		if o.Step, err = session.Duration(step); err != nil {
			return o, fault.Newf(fault.Invalid, "--step: %s", fault.Message(err))
		}
	}
	return o, nil
}

func pointTable(m client.VMMetrics) session.Table {
	t := session.Table{Header: []string{"at"}}
	for _, c := range columns {
		t.Header = append(t.Header, c.name)
	}
	for _, p := range m.Points {
		row := []string{when(p.At)}
		for _, c := range columns {
			row = append(row, c.show(c.of(p.Used)))
		}
		t.Add(row...)
	}
	return t
}

// pictureWidth is how many characters a picture has at most.
const pictureWidth = 60

// pictures shows each figure as its newest value, average, highest value and course.
func pictures(m client.VMMetrics) session.Table {
	step := time.Duration(m.StepSeconds) * time.Second
	t := session.Table{Header: []string{"", "newest", "average", "highest", fmt.Sprintf("%s to %s, by %s", when(m.From), when(m.To), step)}}
	for _, c := range columns {
		values := make([]*float64, len(m.Points))
		for i, p := range m.Points {
			values[i] = c.of(p.Used)
		}
		newest, average, highest := summary(values)
		t.Add(c.name, c.show(newest), c.show(average), c.show(highest), picture(values))
	}
	return t
}

func summary(values []*float64) (newest, average, highest *float64) {
	sum, n := 0.0, 0
	for _, v := range values {
		if v == nil {
			continue
		}
		newest = v
		sum += *v
		n++
		if highest == nil || *v > *highest {
			highest = v
		}
	}
	if n > 0 {
		mean := sum / float64(n)
		average = &mean
	}
	return newest, average, highest
}

// picture draws values from 0 to the highest, each character the highest of those that
// share it; a space where nothing is known.
func picture(values []*float64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	_, _, highest := summary(values)
	if highest == nil {
		return ""
	}
	var b strings.Builder
	n := min(len(values), pictureWidth)
	for i := range n {
		_, _, v := summary(values[i*len(values)/n : (i+1)*len(values)/n])
		switch {
		case v == nil:
			b.WriteByte(' ')
		case *highest == 0:
			b.WriteRune(bars[0])
		default:
			b.WriteRune(bars[min(int(*v / *highest * float64(len(bars))), len(bars)-1)])
		}
	}
	return b.String()
}
