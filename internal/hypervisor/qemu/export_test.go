package qemu

import (
	"context"
	"os"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/confine"
)

// Intruder returns a command that runs program in the place of the QEMU of
// machine m, with a confinement that weaken may change.
func (d *Driver) Intruder(
	ctx context.Context, m hypervisor.Machine, uid uint32, weaken func(*confine.Spec), program string, args ...string,
) (*confine.Cmd, error) {
	s := d.cellOf(ctx, m, uid, command{program, TCG, found{Isolated: true, Bounded: os.Getuid() == 0}})
	if weaken != nil {
		weaken(&s)
	}
	return s.Command(ctx, d.config.Helper, program, args...)
}

// Inner functions that are tested on their own.
var (
	CommandLine = commandLine
	GuestCode   = guestCode
	ProbeLine   = probeLine
	LastWords   = lastWords
	FreeUsers   = UserRange.free
	FileLimit   = fileLimit
)
