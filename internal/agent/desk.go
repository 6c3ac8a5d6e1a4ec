package agent

import (
	"context"
	"slices"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/serial"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// desk is what stands before the console of one VM: all see what the guest
// writes, one of them types. The agent keeps it, because whoever comes, by way of
// whichever replica of the control plane, comes to it.
type desk struct {
	chairs []*chair // in the order of their coming
	writer *chair   // nil for nobody
}

// chair is where one sits. The desks' lock guards it.
type chair struct {
	call  vm.Call
	notes chan serial.Note // that he has not been told yet
}

// sitDown gives a chair to who comes with a call. The first who may write does; others
// watch, unless they take his place.
func (b *switchboard) sitDown(call vm.Call) (*chair, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.desks[call.VM]
	if d == nil {
		d = &desk{}
		b.desks[call.VM] = d
	}
	if len(d.chairs) >= maxAtDesk {
		return nil, fault.Newf(fault.Exhausted, "%d sit before this console already; one of them has to leave first", maxAtDesk)
	}
	c := &chair{call: call, notes: make(chan serial.Note, 8)}
	d.chairs = append(d.chairs, c)
	switch {
	case call.ReadOnly:
		c.tell(serial.Note{Writer: new(bool), Text: "you watch"})
	case d.writer == nil:
		d.writer = c
		c.tell(serial.Note{Writer: new(true), Text: "you write"})
	case call.Take:
		d.writer.tell(serial.Note{Writer: new(bool), Text: "somebody else of your account has taken over; you watch"})
		d.writer = c
		c.tell(serial.Note{Writer: new(true), Text: "you write, in the place of who did"})
	default:
		c.tell(serial.Note{Writer: new(bool), Text: "somebody else of your account writes; you watch. To write yourself, connect again with take"})
	}
	return c, nil
}

// getUp leaves a chair. Where its holder wrote, the next who would does.
func (b *switchboard) getUp(c *chair) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.desks[c.call.VM]
	d.chairs = slices.DeleteFunc(d.chairs, func(other *chair) bool { return other == c })
	if len(d.chairs) == 0 {
		delete(b.desks, c.call.VM)
	}
	if d.writer != c {
		return
	}
	d.writer = nil
	if i := slices.IndexFunc(d.chairs, func(other *chair) bool { return !other.call.ReadOnly }); i >= 0 {
		d.writer = d.chairs[i]
		d.writer.tell(serial.Note{Writer: new(true), Text: "who wrote has left; you write"})
	}
}

// writes reports whether who sits there is the one who writes.
func (b *switchboard) writes(c *chair) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.desks[c.call.VM]
	return d != nil && d.writer == c
}

func (b *switchboard) tell(c *chair, n serial.Note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.tell(n)
}

// tell keeps a note for who sits there; one who takes none of them in misses it.
func (c *chair) tell(n serial.Note) {
	select {
	case c.notes <- n:
	default:
	}
}

// tellAll sends notes until ctx is done.
func (c *chair) tellAll(ctx context.Context, line serial.Line) error {
	for {
		select {
		case n := <-c.notes:
			if err := line.Send(ctx, serial.Frame{Note: &n}); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}
