package control_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// After a long silence ten thousand agents are back at the same moment: each is
// heard, each sells again, and customers are answered in between.
func TestTenThousandReconnect(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		agents := 10_000
		if !quick || e.Name != storetest.SQLite().Name {
			agents = 500
		}
		c := newCloud(t, e.Open(t))
		first := c.join(room(2))
		fleet := make([]string, agents)
		c.must("add servers", c.db.Write(t.Context(), func(tx *store.Tx) error {
			like, err := tx.Server(t.Context(), first.id)
			if err != nil {
				return err
			}
			list := make([]store.Server, agents)
			for n := range list {
				like.ID, like.Name = fmt.Sprintf("srv_%05d", n), fmt.Sprintf("rack-%d", n)
				like.AgentKey = like.ID
				list[n], fleet[n] = like, like.ID
			}
			return tx.InsertServers(t.Context(), list)
		}))
		c.clock.advance(control.SilentAfter + time.Second)
		for silent := 1; silent > 0; { // so many at a time, as the loop does
			var err error
			silent, err = c.NoteSilence(t.Context())
			c.must("NoteSilence", err)
		}
		want(t, "sells after the silence", c.sells(), false)
		anna := c.account("Anna", 1_000_000*price)

		var begin, done sync.WaitGroup
		begin.Add(1)
		for n, id := range fleet {
			done.Go(func() {
				begin.Wait()
				r := vm.Report{Sequence: 2, Instance: "one", Inventory: first.inv}
				if err := c.Observe(t.Context(), id, r); err != nil {
					t.Errorf("agent %d: %v", n, err)
				}
			})
		}
		begin.Done()
		heard := make(chan struct{})
		go func() { done.Wait(); close(heard) }()
		placed := 0 // while others are still on their way
		for waiting := true; waiting; {
			select {
			case <-heard:
				waiting = false
			default:
				if _, err := c.Deploy(t.Context(), anna, wish(1)); err == nil {
					placed++
				}
			}
		}
		if placed == 0 {
			t.Error("nobody could deploy in between")
		}
		c.must("NoteSilence", second(c.NoteSilence(t.Context())))
		silent := 0
		c.must("read servers", c.db.Read(t.Context(), func(tx *store.Tx) error {
			for _, id := range fleet {
				s, err := tx.Server(t.Context(), id)
				if err != nil {
					return err
				}
				if !s.SilentSince.IsZero() || s.ReportSequence != 2 {
					silent++
				}
			}
			return nil
		}))
		want(t, "still silent", silent, 0)
		want(t, "servers on sale", c.Shelf().Servers(), agents+1)
	})
}
