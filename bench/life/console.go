package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
)

const (
	coldKeys   = 20 // before the clock runs
	seenWithin = 10 * time.Second
	shellTries = 20
	shellPause = 3 * time.Second // until what was typed before the shell was there is typed again
)

// benchConsole times a key from when it is pressed until its echo is seen, through
// control plane, agent, QEMU, guest and back; in turns with a bare QEMU, at whose
// serial port the bench sits itself.
func benchConsole(ctx context.Context, b *bench) (err error) {
	r, err := b.cloud(ctx)
	if err != nil {
		return err
	}
	report.Progress("console: two guests")
	g, err := r.Guest(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Delete(context.WithoutCancel(ctx), g.ID)) }()
	m, err := startPair(ctx, r)
	if err != nil {
		return err
	}
	defer func() { m.power.Stop() }()
	far, err := r.OpenConsole(ctx, g.ID, client.ConsoleOptions{})
	if err != nil {
		return err
	}
	defer far.Close() //nolint:errcheck // nobody is there to hear of it
	near, err := m.machine.Console(ctx)
	if err != nil {
		return err
	}
	defer near.Close() //nolint:errcheck // likewise
	cloud, bare := sitAt(ctx, remote{ctx, far}), sitAt(ctx, near)
	for _, s := range []*seat{cloud, bare} {
		if err := s.shell(ctx); err != nil {
			return err
		}
	}
	var took, floor []float64
	for i := range coldKeys + b.keys {
		value, err := cloud.press(ctx, i)
		if err != nil {
			return err
		}
		alone, err := bare.press(ctx, i)
		if err != nil {
			return err
		}
		if i >= coldKeys {
			took, floor = append(took, value), append(floor, alone)
		}
	}
	return report.Print(
		report.Figure{Name: "console.p50", Value: report.Median(took), Unit: "ms", Bar: "<=20"},
		report.Figure{Name: "console.p95", Value: report.Quantile(took, 0.95), Unit: "ms"},
		report.Figure{Name: "console.bare", Value: report.Median(floor), Unit: "ms"},
	)
}

// remote is a console of the cloud as a stream.
type remote struct {
	ctx  context.Context //nolint:containedctx // that of the bench, as streams have none
	seat *client.Console
}

func (r remote) Read(p []byte) (int, error) {
	text, note, err := r.seat.Read(r.ctx)
	if err != nil || note == nil {
		return copy(p, text), err
	}
	if note.End {
		return 0, fmt.Errorf("the console was closed: %s", note.Text)
	}
	return 0, nil
}

func (r remote) Write(p []byte) (int, error) { return len(p), r.seat.Write(r.ctx, p) }

// seat is before a console at which nobody else types.
type seat struct {
	keyboard io.Writer
	said     chan []byte
	seen     []byte // and not looked at
	broken   error  // once said is closed
}

func sitAt(ctx context.Context, stream io.ReadWriter) *seat {
	s := &seat{keyboard: stream, said: make(chan []byte)}
	go func() {
		defer close(s.said)
		for {
			text := make([]byte, 64<<10)
			n, err := stream.Read(text)
			if err != nil {
				s.broken = err
				return
			}
			select {
			case s.said <- text[:n]:
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

// shell returns once a shell answers.
func (s *seat) shell(ctx context.Context) error {
	for range shellTries {
		if _, err := io.WriteString(s.keyboard, "\recho $((6*7))-here\r"); err != nil {
			return err
		}
		if s.await(ctx, "42-here", shellPause) == nil {
			return s.quiet(ctx)
		}
	}
	return fmt.Errorf("no shell answers at the console: %.400q", s.seen)
}

// quiet reads until nothing comes for a second.
func (s *seat) quiet(ctx context.Context) error {
	for {
		limit := time.NewTimer(time.Second)
		select {
		case _, open := <-s.said:
			if !open {
				return s.broken
			}
		case <-limit.C:
			s.seen = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// press presses the i-th key and returns how many milliseconds it took until it was
// seen. A line is taken back before it is long.
func (s *seat) press(ctx context.Context, i int) (float64, error) {
	const alphabet = 26
	if i%alphabet == 0 {
		if _, err := io.WriteString(s.keyboard, "\x15"); err != nil {
			return 0, err
		}
		if err := s.quiet(ctx); err != nil {
			return 0, err
		}
	}
	key := string(rune('a' + i%alphabet))
	s.seen = nil
	begin := report.Now()
	if _, err := io.WriteString(s.keyboard, key); err != nil {
		return 0, err
	}
	err := s.await(ctx, key, seenWithin)
	return report.Now().Sub(begin).Seconds() * 1000, err
}

// await reads until a text was seen.
func (s *seat) await(ctx context.Context, text string, within time.Duration) error {
	limit := time.NewTimer(within)
	defer limit.Stop()
	for !bytes.Contains(s.seen, []byte(text)) {
		select {
		case more, open := <-s.said:
			if !open {
				return s.broken
			}
			s.seen = append(s.seen, more...)
		case <-limit.C:
			return fmt.Errorf("%q is not seen within %s but %.200q", text, within, s.seen)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
