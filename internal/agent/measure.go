package agent

import (
	"context"
	"errors"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	remeasure = 10 * time.Minute // after a benchmark that could not be taken
	quietWait = 10 * time.Minute // that a benchmark waits for VMs that are being started
)

// measurer takes a benchmark after the server has joined, and whenever one is
// asked for that the newest does not answer. It takes one at a time, and begins
// when no VM is being started: neither is to be slowed down by the other.
type measurer struct {
	Config
	book *book
}

func newMeasurer(c Config, b *book) *measurer { return &measurer{Config: c, book: b} }

// run measures until ctx is cancelled.
func (m *measurer) run(ctx context.Context) {
	if m.Measure == nil {
		return
	}
	select {
	case <-m.book.looked:
	case <-ctx.Done():
	}
	for ctx.Err() == nil {
		request, due, changed := m.due()
		if !due {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		m.quiet(ctx)
		if err := m.measure(ctx, request); err != nil && ctx.Err() == nil {
			m.Log.WarnContext(ctx, "benchmark not taken; it is tried again", "error", err)
			wait(ctx, remeasure, nil)
		}
	}
}

// due reports whether a benchmark is to be taken and which request it answers,
// and returns a channel that is closed when that may have changed.
func (m *measurer) due() (request int64, due bool, changed <-chan struct{}) {
	b := m.book
	b.mu.Lock()
	defer b.mu.Unlock()
	answered := int64(0)
	if b.measured != nil {
		answered = b.measured.Request
	}
	return b.list.Measure, b.list.Measure > answered || b.measured == nil && !m.OnRequest, b.changed
}

// quiet waits until no VM is being started, for a while at most: on a server
// that starts one after the other there is no better moment.
func (m *measurer) quiet(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, quietWait)
	defer cancel()
	for ctx.Err() == nil {
		seen, _, _, changed := m.book.report()
		starting := false
		for _, s := range seen {
			starting = starting || s.Phase == vm.Preparing || s.Phase == vm.Booting
		}
		if !starting {
			return
		}
		wait(ctx, quietWait, changed)
	}
}

func (m *measurer) measure(ctx context.Context, request int64) error {
	m.Log.InfoContext(ctx, "benchmark begins", "request", request)
	found, err := m.Measure(ctx)
	if err != nil {
		return err
	}
	if found == (capacity.Measured{}) {
		return errors.New("it found nothing")
	}
	found.Request = request
	m.Log.InfoContext(ctx, "benchmark taken", "request", request, "cpu_single", found.CPUSingle, "cpu_all", found.CPUAll, "note", found.Note)
	m.book.measure(ctx, found)
	return nil
}

// measure makes found the benchmark that is reported, over restarts too.
func (b *book) measure(ctx context.Context, found capacity.Measured) {
	if err := b.folder.write(measuredFile, found, true); err != nil {
		b.log.ErrorContext(ctx, "benchmark not kept", "error", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.measured = &found
	b.bump()
}

// wait returns when d is over, or when something happens before.
func wait(ctx context.Context, d time.Duration, happens <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-happens:
	case <-ctx.Done():
	}
}
