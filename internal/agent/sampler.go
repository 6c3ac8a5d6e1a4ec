package agent

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/usage"
	"github.com/cpucloud/cpucloud/internal/wire"
)

const (
	// spreadOver is how long after a minute agents tell of it at the latest: each at
	// another moment.
	spreadOver = 8 * time.Second
	// untold is how long a control plane is left in peace that knows no metrics, or
	// refuses them for what somebody has to mend.
	untold = 10 * time.Minute
)

// sampler reads the meters of all VMs at the end of each slot, and tells the control
// plane of each minute. What it can't tell within an hour is lost: the VMs run on.
type sampler struct {
	Config
	client  *wire.Client
	meters  meters
	tallies *tallies
}

func newSampler(c Config, client *wire.Client) *sampler {
	return &sampler{Config: c, client: client, tallies: newTallies()}
}

// read reads meters until ctx is cancelled.
func (s *sampler) read(ctx context.Context) {
	s.meters.last.at = usage.SlotOf(s.Now()).Time() // what was started since has begun at nothing
	for last := ""; ; {
		now := s.Now()
		wait(ctx, usage.SlotOf(now).Time().Add(usage.Width).Sub(now), nil)
		if ctx.Err() != nil {
			return
		}
		r, err := s.look(ctx)
		if trouble := text(err); trouble != last && ctx.Err() == nil {
			if last = trouble; err != nil {
				s.Log.WarnContext(ctx, "what VMs use is not seen in full", "error", err)
			}
		}
		s.tallies.add(s.meters.take(r), r.end())
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// look reads all meters. What it couldn't read is an error, and not in the reading.
func (s *sampler) look(ctx context.Context) (r reading, err error) {
	r.at = s.Now()
	machines, machinesErr := s.Hypervisor.Usage(ctx)
	if machinesErr == nil {
		r.machines = machines
	}
	links, err := s.Network.Traffic(ctx)
	if err == nil {
		r.links, r.linked = links, true
	}
	if machinesErr != nil {
		err = machinesErr
	}
	return r, err
}

// tell tells the control plane of what was read until ctx is cancelled.
func (s *sampler) tell(ctx context.Context) {
	for refused := ""; ctx.Err() == nil; {
		wait(ctx, longestUntold, s.tallies.whole)
		s.spread(ctx)
		err := s.tellAll(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			refused = ""
		case fault.Is(err, fault.Unavailable): // it is away, which the courier tells of
		default:
			if text(err) != refused {
				refused = text(err)
				s.Log.Log(ctx, levelOf(err), "the control plane takes no metrics of VMs", "error", err)
			}
			wait(ctx, untold, nil)
		}
	}
}

// levelOf says how loud it is told that metrics are refused. An older control plane is no
// trouble, and of one that doesn't know this server the courier tells.
func levelOf(err error) slog.Level {
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Denied) {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// longestUntold is more than there is between two minutes.
const longestUntold = time.Hour

// tellAll tells of whole minutes as long as there are some.
func (s *sampler) tellAll(ctx context.Context) error {
	for {
		now := s.Now()
		some := s.tallies.next(usage.SlotOf(now))
		if len(some) == 0 {
			return nil
		}
		if err := s.client.Metrics(ctx, usage.Report{At: now, VMs: some}); err != nil {
			return err
		}
		s.tallies.told(some)
	}
}

// spread waits for this agent's moment.
func (s *sampler) spread(ctx context.Context) {
	var b [2]byte
	if _, err := io.ReadFull(s.Rand, b[:]); err == nil {
		wait(ctx, spreadOver*time.Duration(binary.BigEndian.Uint16(b[:]))/(1<<16), nil)
	}
}
