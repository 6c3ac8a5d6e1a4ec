package gateway

import (
	"sync/atomic"

	"github.com/cpucloud/cpucloud/internal/network"
)

// meter counts the frames on a VM's cable, over all its runs.
type meter struct{ in, out count }

type count struct{ bytes, frames atomic.Uint64 }

func (c *count) add(bytes int) {
	c.bytes.Add(uint64(bytes)) //nolint:gosec // the length of a frame
	c.frames.Add(1)
}

// Traffic returns what the VM's cable has carried.
func (g *Gateway) Traffic() network.Traffic {
	return network.Traffic{
		BytesIn: g.meter.in.bytes.Load(), BytesOut: g.meter.out.bytes.Load(),
		PacketsIn: g.meter.in.frames.Load(), PacketsOut: g.meter.out.frames.Load(),
	}
}
