package agent

import (
	"context"
	"fmt"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// restart starts the running machine of a VM anew. Its guest is asked to power
// itself off, and switched off if it has not after offTime; under an abrupt order
// it is reset. Wherever this is cut, it is begun again, or the launch that follows
// fulfils it: a machine that was off has been started anew.
func (k *keeper) restart(ctx context.Context, o vm.Order) error {
	if o.Abrupt {
		return k.reset(ctx, o)
	}
	off, err := k.powersOff(ctx, o.ID, restartKey(o))
	if err != nil {
		return err
	}
	if !off {
		k.book.tell(ctx, o.ID, restartKey(o), fmt.Sprintf("did not power itself off within %.0f s and is switched off", offTime.Seconds()))
	}
	if err := k.Hypervisor.Destroy(ctx, o.ID); err != nil {
		return fmt.Errorf("end machine: %w", err)
	}
	return k.launch(ctx, o)
}

// reset presses the reset button of a VM.
func (k *keeper) reset(ctx context.Context, o vm.Order) error {
	// Before: it must not be taken as ready for what it had answered until now.
	k.book.update(ctx, o.ID, func(e *entry) { e.Ready = false })
	if err := k.Hypervisor.Reset(ctx, o.ID); err != nil {
		return fmt.Errorf("reset machine: %w", err)
	}
	k.book.update(ctx, o.ID, func(e *entry) {
		e.Started, e.Restarted = k.Now(), o.Restart
		e.tell(restartKey(o), e.Started, "reset: its guest starts anew")
	})
	return nil
}

// restartKey is that of the line in a VM's story.
func restartKey(o vm.Order) string { return fmt.Sprintf("restart-%d", o.Restart) }
