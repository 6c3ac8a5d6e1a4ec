// Package report is how a bench says what it has measured: one line a figure on
// standard output, and everything else on standard error.
package report

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Now is the clock of the benches.
var Now = time.Now //nolint:forbidigo // benches measure the time that really passes

// Main runs a bench until it ends or is interrupted. A figure that misses its bar
// is a figure; only a bench that could not measure exits with an error.
func Main(run func(ctx context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) //nolint:forbidigo // the top
	err := run(ctx)
	stop()
	if err != nil {
		Progress("error: %v", err)
		os.Exit(1)
	}
}

// Progress tells who waits what goes on.
func Progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// Figure is one number that was measured.
type Figure struct {
	Name  string
	Value float64
	Unit  string
	Floor float64 // what cannot be beaten, measured in the same run; 0 for none
	Bar   string  // what the ratio has to be, or the value where there is no floor; "" for none
}

// Write writes the figure as a line of key=value pairs.
func (f Figure) Write(w io.Writer) error {
	line := fmt.Sprintf("name=%s value=%s unit=%s", f.Name, number(f.Value), f.Unit)
	if f.Floor > 0 {
		line += fmt.Sprintf(" floor=%s ratio=%.3f", number(f.Floor), f.Value/f.Floor)
	}
	if f.Bar != "" {
		line += fmt.Sprintf(" bar=%q", f.Bar)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// Print writes figures to standard output.
func Print(figures ...Figure) error {
	for _, f := range figures {
		if err := f.Write(os.Stdout); err != nil {
			return err
		}
	}
	return nil
}

// number returns v with three digits after the point, less its trailing zeros.
func number(v float64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
}

// Median returns the middle of the values, of which there is at least one.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Ratios returns the ratio of each round.
func Ratios(value, floor []float64) []float64 {
	each := make([]float64, len(value))
	for i := range value {
		each[i] = value[i] / floor[i]
	}
	return each
}

// Quantile returns the smallest value that at least the share q of the values,
// of which there is at least one, does not exceed.
func Quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(int(math.Ceil(q*float64(len(sorted)))), 1)-1]
}

// Pause waits for d, or until ctx is done.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
