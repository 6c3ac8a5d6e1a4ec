package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
)

// EndAll ends every machine and link of a server on its operator's word, such
// as before the host is put to rest. Disks and records stay, so that the next
// Run starts all of them again. Returns a Conflict fault while an agent runs in
// the folder, and goes on past machines that can't be ended.
func EndAll(ctx context.Context, dir string, h hypervisor.Driver, n network.Driver, log *slog.Logger) error {
	f, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // records are derived again
	b, err := openBook(ctx, f, log, func() time.Time { return time.Time{} })
	if err != nil {
		return err
	}
	machines, err := h.List(ctx)
	if err != nil {
		return fmt.Errorf("list machines: %w", err)
	}
	links, err := n.List(ctx)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var failed []error
	for _, m := range machines {
		if err := h.Destroy(ctx, m.ID); err != nil {
			failed = append(failed, fmt.Errorf("end machine %s: %w", m.ID, err))
		}
	}
	for _, l := range links {
		if err := n.Destroy(ctx, l.ID); err != nil {
			failed = append(failed, fmt.Errorf("remove link %s: %w", l.ID, err))
		}
	}
	for id := range b.entries {
		b.update(ctx, id, func(e *entry) { e.Ready, e.Asked, e.Attempt, e.NotBefore = false, time.Time{}, 0, time.Time{} })
	}
	return errors.Join(failed...)
}
