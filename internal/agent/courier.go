package agent

import (
	"context"
	"encoding/binary"
	"io"
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
	"github.com/cpucloud/cpucloud/internal/wire"
)

const (
	firstReconnect = 500 * time.Millisecond
	lastReconnect  = 30 * time.Second
	shortestPoll   = time.Second // a control plane that stops answers polls at once
	leastLeap      = time.Minute // of the sequence, when the control plane knows a newer one
	slowly         = 6           // failures after which the pause is the longest
	longestLeap    = 10 * 365 * 24 * time.Hour
)

// courier carries reports to the control plane and brings back its lists.
type courier struct {
	Config
	book     *book
	client   *wire.Client
	instance string        // of this start of the agent
	sequence int64         // of the last report
	leap     time.Duration // that sequences are ahead of the clock
	told     int64         // version of the book that the control plane knows
	called   bool          // the last answer asked for consoles
}

func newCourier(c Config, b *book, client *wire.Client, instance string) *courier {
	return &courier{Config: c, book: b, client: client, instance: instance, told: -1}
}

// run exchanges until ctx is cancelled. It begins when the server has been
// seen: an agent that has not looked would report every VM absent.
func (c *courier) run(ctx context.Context) {
	select {
	case <-c.book.looked:
	case <-ctx.Done():
	}
	for failures, last := 0, trouble(""); ctx.Err() == nil; {
		err := c.exchange(ctx)
		if err == nil {
			if failures > 0 {
				c.Log.InfoContext(ctx, "control plane is back")
			}
			failures, last = 0, ""
			continue
		}
		if ctx.Err() != nil {
			return
		}
		now := troubleOf(err)
		if now == behind {
			c.leap = min(max(2*c.leap, leastLeap), longestLeap)
		}
		c.complain(ctx, now, last, err)
		if last = now; now == copied || now == removed {
			failures = max(failures, slowly)
		}
		c.rest(ctx, failures)
		failures++
	}
}

// exchange reports once. A report that says something new is answered at once
// and never cut short. One that does not is a poll: it is held until there is
// news, and cut short, losing nothing, when there is something new to say.
func (c *courier) exchange(ctx context.Context) error {
	vms, known, version, changed := c.book.report() // before the inventory, so that none of its changes is lost
	report := vm.Report{Sequence: c.next(), Instance: c.instance, Inventory: c.book.inventory(c.Inventory), VMs: vms}
	if version != c.told {
		list, news, err := c.client.Sync(ctx, report, known, 0)
		if err != nil {
			return err
		}
		c.told = version
		if news {
			c.follow(ctx, list)
		}
		return nil
	}
	return c.poll(ctx, report, known, changed)
}

func (c *courier) poll(ctx context.Context, report vm.Report, known vm.List, changed <-chan struct{}) error {
	held, cut := context.WithCancel(ctx)
	defer cut()
	go func() {
		select {
		case <-changed:
			cut()
		case <-held.Done():
		}
	}()
	least := time.NewTimer(shortestPoll)
	defer least.Stop()
	c.called = false
	list, news, err := c.client.Sync(held, report, known, wire.MaxWait)
	switch {
	case err == nil && news:
		c.follow(ctx, list)
		return nil
	case err == nil && c.called:
		return nil // each call comes once, or seconds apart
	case held.Err() != nil && ctx.Err() == nil:
		return nil // cut short
	case err != nil:
		return err
	}
	select {
	case <-least.C:
	case <-held.Done():
	}
	return nil
}

func (c *courier) follow(ctx context.Context, l vm.List) {
	c.Log.InfoContext(ctx, "new orders", "epoch", l.Epoch, "revision", l.Revision, "orders", len(l.Orders))
	c.book.follow(ctx, l)
}

// next returns a sequence above all that were used. The clock makes it so over
// restarts; where the clock was set back, refusals make it leap ahead.
func (c *courier) next() int64 {
	c.sequence = max(c.sequence+1, c.Now().Add(c.leap).UnixMicro())
	return c.sequence
}

// rest waits after failures: longer and longer, and each agent another time,
// so that a control plane that comes back is not met by all of them at once.
func (c *courier) rest(ctx context.Context, failures int) {
	delay := lastReconnect
	if failures < slowly {
		delay = min(firstReconnect<<failures, lastReconnect)
	}
	var b [2]byte
	if _, err := io.ReadFull(c.Rand, b[:]); err == nil {
		delay = delay/2 + delay/2*time.Duration(binary.BigEndian.Uint16(b[:]))/(1<<16)
	}
	wait(ctx, delay, nil)
}
