package control

import (
	"context"
	"slices"

	"github.com/cpucloud/cpucloud/internal/store"
)

// ahead is a reading of VMs that are to be billed, beside the transaction that
// bills them.
type ahead struct {
	steps chan []store.Due
	over  chan struct{}
	err   error // once there are no more steps
}

// pageSteps is how many steps are read at a time at most.
const pageSteps = 4

// readAhead reads the VMs that are next to be billed while others are written. It
// sees what the transaction that writes has begun with, since nobody else writes
// meanwhile. It has to be ended before that transaction is.
func (p *round) readAhead(ctx context.Context) *ahead {
	a := &ahead{steps: make(chan []store.Due, pageSteps), over: make(chan struct{})}
	go func() {
		defer close(a.steps)
		behind, size := p.done, min(p.most, pageSteps*billStep)
		a.err = p.Store.Read(ctx, func(tx *store.Tx) error {
			for {
				var page []store.Due
				err := p.pick(ctx, tx, behind, size, func(d store.Due) error { page = append(page, d); return nil })
				if err != nil || len(page) == 0 {
					return err
				}
				behind = page[len(page)-1].Place
				for step := range slices.Chunk(page, billStep) {
					select {
					case a.steps <- step:
					case <-a.over:
						return nil
					}
				}
			}
		})
	}()
	return a
}

// end ends the reading, and returns what went wrong.
func (a *ahead) end() error {
	close(a.over)
	for range a.steps { // what was read too much
	}
	return a.err
}
