package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/cloud"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
)

const (
	coldOrders = 2 // before the clock runs
	startedIn  = time.Minute
	lookEvery  = 20 * time.Millisecond
)

// stages are the steps of a launch that a VM tells of, in their order, by how
// their text begins.
var stages = []struct{ name, text string }{
	{"image", "image fetched"}, {"disk", "disk of"}, {"network", "address"}, {"machine", cloud.MachineStarted},
}

// benchOrder times the agent from an order's arrival until QEMU runs the guest, in
// turns with a bare QEMU that is asked by the same means whether it does.
func benchOrder(ctx context.Context, s *site, o options) error {
	report.Progress("order: %d orders, one at a time", o.orders)
	var took, floor []float64
	parts := make([][]float64, len(stages))
	for i := range coldOrders + o.orders {
		if err := s.bare[0].Prepare(ctx); err != nil {
			return err
		}
		whole, each, err := s.order(ctx)
		if err != nil {
			return err
		}
		alone, err := s.bare[0].Running(ctx)
		if err != nil {
			return err
		}
		if i < coldOrders {
			continue
		}
		took, floor = append(took, whole), append(floor, milliseconds(alone))
		for k, v := range each {
			parts[k] = append(parts[k], v)
		}
	}
	figures := []report.Figure{
		{Name: "order.p50", Value: report.Median(took), Unit: "ms", Bar: "<=150"},
		{Name: "order.p90", Value: report.Quantile(took, 0.9), Unit: "ms"},
		{Name: "order.above", Value: report.Median(took) - report.Median(floor), Unit: "ms"},
		{Name: "order.qemu", Value: report.Median(floor), Unit: "ms"},
	}
	for k, stage := range stages {
		figures = append(figures, report.Figure{Name: "order." + stage.name, Value: report.Median(parts[k]), Unit: "ms"})
	}
	return report.Print(figures...)
}

// order has one VM started and returns how long the agent took and how long each
// stage, in milliseconds.
func (s *site) order(ctx context.Context) (took float64, each []float64, err error) {
	ids, err := s.Order(ctx, 1)
	if err != nil {
		return 0, nil, err
	}
	v, err := s.started(ctx, ids[0])
	if err != nil {
		return 0, nil, err
	}
	ordered, running, err := s.Launch(v.ID)
	if err != nil {
		return 0, nil, err
	}
	if each, err = spans(v, ordered); err != nil {
		return 0, nil, err
	}
	return milliseconds(running.Sub(ordered)), each, s.Delete(ctx, v.ID)
}

// started waits until a VM tells that its machine runs.
func (s *site) started(ctx context.Context, id string) (client.VM, error) {
	ctx, cancel := context.WithTimeout(ctx, startedIn)
	defer cancel()
	for {
		v, err := s.VM(ctx, id)
		if err != nil {
			return v, err
		}
		if _, err := cloud.Told(v, cloud.MachineStarted); err == nil {
			return v, nil
		}
		if err := report.Pause(ctx, lookEvery); err != nil {
			return v, fmt.Errorf("wait for the start of %s, which is %s: %w", id, v.Status, err)
		}
	}
}

// spans returns how long each stage took that began with the end of the one
// before, the first one at begin.
func spans(v client.VM, begin time.Time) ([]float64, error) {
	each := make([]float64, len(stages))
	for k, stage := range stages {
		end, err := cloud.Told(v, stage.text)
		if err != nil {
			return nil, err
		}
		each[k], begin = milliseconds(end.Sub(begin)), end
	}
	return each, nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
