package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// timeline returns a VM's story, oldest first: what happened to it, and what
// moved its money without anything else happening.
func timeline(ctx context.Context, tx *store.Tx, vmID string) ([]vm.Event, error) {
	events, err := tx.Events(ctx, vmID)
	if err != nil {
		return nil, err
	}
	entries, err := tx.VMEntries(ctx, vmID)
	if err != nil {
		return nil, err
	}
	var moved []vm.Event // before what is said of it at the same time
	for _, e := range entries {
		switch {
		case e.Kind == ledger.Charge && e.Epoch > 1:
			moved = append(moved, vm.Event{At: e.At, Key: e.Key, Text: fmt.Sprintf("epoch %d was charged: %s USDC", e.Epoch, e.Amount)})
		case e.Kind == ledger.TopUp:
			moved = append(moved, vm.Event{At: e.At, Key: e.Key, Text: fmt.Sprintf("%s USDC went from the balance to its reserve: %s", e.Amount, e.Reason)})
		}
	}
	events = append(moved, events...)
	slices.SortStableFunc(events, func(a, b vm.Event) int { return a.At.Compare(b.At) })
	return events, nil
}
