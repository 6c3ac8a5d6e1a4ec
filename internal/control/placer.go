package control

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Bounds of a group: more orders than that wait for the next one.
const (
	groupOrders = 64
	groupVMs    = 2_000
	groupWithin = 30 * time.Second // one that takes longer is given up
	groupTries  = 3

	gatherShare = 2 // of the time that a group takes may pass in waiting for the next
	gatherMost  = 4 * time.Millisecond
)

// order is a deployment on its way: who waits for done finds what was made.
type order struct {
	who    account.Actor
	wish   Deployment
	digest string   // of a request that may be repeated
	keys   []string // public key lines
	noKeys error    // why there are none
	source *source  // that the VMs are made of, nil for an image

	placing placing // what is asked of its places

	made    []Deployed
	plan    Plan
	servers []string // whose lists changed
	err     error
	done    chan struct{}
}

// placer collects orders that arrive while others are being stored, and stores
// them together: a disk or a database makes one commit durable as fast as
// sixty-four. The zero value is ready to use.
type placer struct {
	mu      sync.Mutex
	waiting []*order
	busy    bool
	full    chan struct{} // closed when as many wait as are enough; nil while nobody gathers
	enough  int
}

// submit has an order done.
func (p *placer) submit(ctx context.Context, s *Service, o *order) {
	p.mu.Lock()
	p.waiting = append(p.waiting, o)
	if p.full != nil && len(p.waiting) >= p.enough {
		close(p.full)
		p.full = nil
	}
	lead := !p.busy
	p.busy = true
	p.mu.Unlock()
	if lead {
		go p.run(context.WithoutCancel(ctx), s) // an order outlives the request that brought it
	}
}

// run does what waits until nothing does.
func (p *placer) run(ctx context.Context, s *Service) {
	for group := p.next(); len(group) > 0; group = p.next() {
		began := s.Now()
		ctx, cancel := context.WithTimeout(ctx, groupWithin)
		s.placeGroup(ctx, group)
		cancel()
		p.gather(len(group), s.Now().Sub(began)/gatherShare)
	}
}

// gather waits a moment, where a group was stored of more than one order, for as
// many to come again: clients that wait for their answer before they go on would
// else be stored one at a time and all others, in turns.
func (p *placer) gather(group int, most time.Duration) {
	if group < 2 {
		return
	}
	p.mu.Lock()
	p.enough = group
	full := make(chan struct{})
	p.full = full
	p.mu.Unlock()
	timer := time.NewTimer(min(most, gatherMost))
	defer timer.Stop()
	select {
	case <-full:
	case <-timer.C:
	}
	p.mu.Lock()
	p.full = nil
	p.mu.Unlock()
}

// next returns the next group; when there is none, nobody leads any more.
func (p *placer) next() []*order {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, vms := 0, int64(0)
	for n < len(p.waiting) && n < groupOrders && (n == 0 || vms+p.waiting[n].wish.Instances <= groupVMs) {
		vms += p.waiting[n].wish.Instances
		n++
	}
	group := p.waiting[:n:n]
	p.waiting = p.waiting[n:]
	if n == 0 {
		p.waiting, p.busy = nil, false
	}
	return group
}

// placeGroup stores a group of orders and tells those who wait.
func (s *Service) placeGroup(ctx context.Context, group []*order) {
	err := s.storeGroup(ctx, group)
	if err != nil && len(group) > 1 && !errors.Is(err, context.DeadlineExceeded) {
		for _, o := range group { // one of them is at fault; the others are not
			o.err = s.storeGroup(ctx, []*order{o})
			s.finish(o)
		}
		return
	}
	for _, o := range group {
		if err != nil {
			o.err = err
		}
		s.finish(o)
	}
}

func (s *Service) finish(o *order) {
	if o.err != nil {
		o.made, o.servers = nil, nil
	}
	for _, server := range o.servers {
		s.bells.ring("server:" + server)
	}
	close(o.done)
}

// storeGroup places the orders of a group and stores them in one transaction.
// Each has its own err when it was refused; an error of the group leaves none
// of them stored. Places are chosen while nobody else can write, out of an index
// that is as new as the store. Should the store refuse them all the same, because
// a server is short of room or an address is taken, all is read anew and chosen
// again with more care.
func (s *Service) storeGroup(ctx context.Context, group []*order) (err error) {
	s.shelf.filling.Lock()
	defer s.shelf.filling.Unlock()
	since := s.shelf.Revision()
	resting := map[uint32]time.Time{}
	for try := 0; try < groupTries; try++ {
		err = s.tryGroup(ctx, group, since, try > 0, resting)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if r, rests := errors.AsType[restingError](err); rests && resting[r.server].IsZero() {
			resting[r.server] = r.until
			try-- // one server less each time, so it ends
			continue
		}
		s.Log.InfoContext(ctx, "orders not stored, choosing places again", "orders", len(group), "error", err)
		if fault.Is(err, fault.Conflict) {
			since = everything
		}
	}
	if fault.Is(err, fault.Conflict) {
		return fault.Newf(fault.Unavailable, "the marketplace changes too fast; try again: %v", err)
	}
	return err
}

// everything is the revision behind which all changes are, removals too.
const everything = -1

func (s *Service) tryGroup(ctx context.Context, group []*order, since int64, careful bool, resting map[uint32]time.Time) error {
	b := &batch{Service: s, now: s.Now().UTC(), careful: careful, resting: resting, rehearse: store.Rehearsing(ctx)}
	err := s.Store.WriteKnowing(ctx, payers(group), func(tx *store.Tx) error {
		if err := s.catchUp(ctx, tx, since); err != nil {
			return err
		}
		b.tx = tx
		if err := b.read(ctx, group); err != nil {
			return err
		}
		for _, o := range group {
			o.made, o.servers, o.err = nil, nil, nil
			if err := b.admit(ctx, o); err != nil {
				return err
			}
		}
		if err := b.write(ctx); err != nil || !b.rehearse {
			return err
		}
		return b.foresee(ctx, group)
	})
	if err != nil || b.rehearse {
		b.undo()
		return err
	}
	s.shelf.Advance(b.revision)
	return nil
}
