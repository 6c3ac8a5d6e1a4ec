package agent

import (
	"context"
	"errors"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// trouble is why reports do not get through. Whatever it is, the VMs go on.
type trouble string

const (
	away    trouble = "away"    // nothing answers, or nothing that is to be believed
	behind  trouble = "behind"  // the control plane knows a newer report; goes by itself
	copied  trouble = "copied"  // another machine speaks with this server's key
	removed trouble = "removed" // the control plane does not know this server, or no more
)

func troubleOf(err error) trouble {
	switch {
	case fault.Is(err, fault.Denied):
		return removed
	case errors.Is(err, vm.ErrCopied):
		return copied
	case fault.Is(err, fault.Conflict):
		return behind
	}
	return away
}

// complain tells the operator of a trouble once, and what to do where that is
// for people to do.
func (c *courier) complain(ctx context.Context, now, last trouble, err error) {
	if now == last {
		c.Log.DebugContext(ctx, "control plane not reached", "trouble", now, "error", err)
		return
	}
	switch now {
	case copied:
		c.Log.ErrorContext(ctx, "another machine uses this server's identity, so its reports are refused; the vms go on", "error", err,
			"to_do", "stop one of the two; if this is the copy, join it anew: `cpucloud agent join` with a new token and an empty --data folder")
	case removed:
		c.Log.ErrorContext(ctx, "the control plane refuses this server; the vms go on", "error", err,
			"to_do", "if it was removed on purpose, end its vms with `cpucloud down` and stop the agent; to sell it again, "+
				"`cpucloud agent join` with a new token and an empty --data folder")
	case behind, away:
		c.Log.WarnContext(ctx, "control plane not reached, the vms go on", "error", err)
	}
}
