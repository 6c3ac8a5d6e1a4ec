package agent

import (
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/usage"
)

// WithFault returns c with a folder in which fault may make any step fail that
// changes the disk.
func WithFault(c Config, fault func(step string) error) Config {
	c.fault = fault
	return c
}

// Meters are meters that a test reads.
type Meters struct{ meters }

// Take takes what was read at a moment; links are nil where they can't be read.
func (m *Meters) Take(at time.Time, machines []hypervisor.Usage, links map[string]network.Traffic) []usage.OfVM {
	return m.take(reading{at: at, machines: machines, links: links, linked: links != nil})
}
