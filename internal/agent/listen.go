package agent

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	// listenFor is how long after its first start a guest is listened to:
	// cloud-init prints host keys when all else that it does is done.
	listenFor   = 15 * time.Minute
	firstListen = 250 * time.Millisecond
	lastListen  = 5 * time.Second
)

// listen waits until the guest of o has printed its SSH host keys on its console, or
// has run so long that its image is taken to print none. They are looked for after
// the first start alone and never again once they are found: later on, whoever got
// into the guest may print others.
func (k *keeper) listen(ctx context.Context, o vm.Order) error {
	e := k.book.get(o.ID)
	begun := e.begun()
	if now := k.Now(); begun.After(now) { // the clock was set back
		begun = now
	}
	for pause := firstListen; ; pause = min(2*pause, lastListen) {
		text, err := k.Hypervisor.Console(ctx, o.ID)
		if err != nil && ctx.Err() == nil {
			k.Log.DebugContext(ctx, "console not read", "vm_id", o.ID, "error", err)
		}
		keys := hostkey.In(text)
		if over := k.Now().Sub(begun) >= listenFor; len(keys) > 0 || over {
			k.book.update(ctx, o.ID, func(e *entry) { e.HostKeys, e.Heard = keys, true })
			return nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}
