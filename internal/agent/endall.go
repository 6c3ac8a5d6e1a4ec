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
	gone := map[string]bool{} // a link that is half there is not listed: all that may have one are told
	for _, l := range links {
		gone[l.ID] = true
	}
	for id := range b.entries {
		gone[id] = true
	}
	for id := range gone {
		if err := n.Destroy(ctx, id); err != nil {
			failed = append(failed, fmt.Errorf("remove link %s: %w", id, err))
		}
	}
	for id := range b.entries {
		b.update(ctx, id, func(e *entry) { e.Ready, e.Asked, e.Attempt, e.NotBefore = false, time.Time{}, 0, time.Time{} })
	}
	return errors.Join(failed...)
}
