package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	// offTime is how long a guest may take to power itself off. Most need a few
	// seconds, a database that writes back its memory may need most of it; one
	// that does not listen would otherwise run for ever without being paid for.
	offTime = time.Minute
	// askAgain is how soon it is asked again: a guest that is just booting does
	// not hear its power button, one that is on its way takes no notice.
	askAgain = 10 * time.Second
	offPoll  = 250 * time.Millisecond
)

// halt powers a VM off and keeps what it has. Its disk stays, and so does its
// link if there is one: the address is the VM's all the while and nobody else's
// may become it, and nothing answers there without a machine. Nothing is made
// for a VM that lacks something; that is for the launch that may follow.
func (k *keeper) halt(ctx context.Context, o vm.Order) error {
	key := fmt.Sprintf("halt-%d", o.Generation)
	text := "powered off, its disk is kept"
	running, err := k.runs(ctx, o.ID)
	if err != nil {
		return err
	}
	if running {
		off, err := k.powersOff(ctx, o.ID, key)
		if err != nil {
			return err
		}
		if !off {
			text = fmt.Sprintf("did not power itself off within %.0f s and was switched off; its disk is kept", offTime.Seconds())
		}
	}
	if err := k.Hypervisor.Destroy(ctx, o.ID); err != nil {
		return fmt.Errorf("end machine: %w", err)
	}
	disks := k.book.get(o.ID).disks
	k.book.update(ctx, o.ID, func(e *entry) {
		e.machine, e.Generation, e.Ready, e.Asked, e.Reason = "", o.Generation, false, time.Time{}, ""
		if len(disks) > 0 && (running || !e.Halted) { // else there is nothing to tell of
			e.Halted = true
			e.tell(key, k.Now(), text)
		}
	})
	return nil
}

// powersOff asks the guest of a VM to power itself off and reports whether it
// was gone in time. How long is counted anew by every start of the agent: the
// last one may have died before it asked. It is told in the VM's story under key.
func (k *keeper) powersOff(ctx context.Context, id, key string) (bool, error) {
	k.book.update(ctx, id, func(e *entry) {
		e.Asked = k.Now()
		e.tell(key, e.Asked, "its guest is asked to power itself off")
	})
	patience, cancel := context.WithTimeout(ctx, offTime)
	defer cancel()
	for polls := 0; ; polls++ {
		running, err := k.runs(ctx, id)
		if ctx.Err() != nil { // called off, which is no reason to end the machine
			return false, ctx.Err()
		}
		if err != nil || !running || patience.Err() != nil {
			return !running, err
		}
		if polls%int(askAgain/offPoll) == 0 {
			// One that can't be asked is as one that does not listen.
			if err := k.Hypervisor.Shutdown(patience, id); err != nil && patience.Err() == nil {
				k.Log.WarnContext(ctx, "guest can't be asked to power itself off", "vm_id", id, "error", err)
			}
		}
		wait(patience, offPoll, nil)
	}
}

// runs reports whether the hypervisor sees the machine of a VM run.
func (k *keeper) runs(ctx context.Context, id string) (bool, error) {
	machines, err := k.Hypervisor.List(ctx)
	if err != nil {
		return true, fmt.Errorf("list machines: %w", err)
	}
	for _, m := range machines {
		if m.ID == id {
			return m.State == hypervisor.Running, nil
		}
	}
	return false, nil
}
