package report_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

func TestFigure(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		figure report.Figure
		want   string
	}{
		{report.Figure{Name: "boot.ssh", Value: 8.1, Unit: "s", Floor: 7.5, Bar: "<=1.15"}, `name=boot.ssh value=8.1 unit=s floor=7.5 ratio=1.080 bar="<=1.15"`},
		{report.Figure{Name: "idle.rss", Value: 50, Unit: "MiB", Bar: "<=60"}, `name=idle.rss value=50 unit=MiB bar="<=60"`},
		{report.Figure{Name: "boot.active", Value: 1.23456, Unit: "s"}, `name=boot.active value=1.235 unit=s`},
	} {
		var line strings.Builder
		if err := test.figure.Write(&line); err != nil || line.String() != test.want+"\n" {
			t.Errorf("Write gave %q, %v; want %q", line.String(), err, test.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, test := range []struct {
		what      string
		got, want float64
	}{
		{"median of one", report.Median([]float64{3}), 3},
		{"median of three", report.Median([]float64{9, 1, 2}), 2},
		{"median of four", report.Median([]float64{9, 1, 2, 4}), 3},
		{"p99 of 100", report.Quantile(hundred, 0.99), 99},
		{"p50 of 100", report.Quantile(hundred, 0.5), 50},
		{"p99 of three", report.Quantile([]float64{5, 7, 6}, 0.99), 7},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %v, want %v", test.what, test.got, test.want)
		}
	}
}

func TestRatios(t *testing.T) {
	t.Parallel()
	if got := report.Ratios([]float64{3, 1}, []float64{2, 4}); !slices.Equal(got, []float64{1.5, 0.25}) {
		t.Errorf("ratios are %v", got)
	}
}
