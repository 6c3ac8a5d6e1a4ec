package control_test

import (
	"fmt"
	"runtime"
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
				like.AgentKey, like.SilentSince = like.ID, start
				list[n], fleet[n] = like, like.ID
			}
			return tx.InsertServers(t.Context(), list)
		}))
		c.clock.advance(control.SilentAfter + time.Second)
		c.must("NoteSilence", second(c.NoteSilence(t.Context())))
		want(t, "sells after the silence", c.sells(), false)
		anna := c.account("Anna", 4*price)

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
		for placed := false; !placed; runtime.Gosched() {
			_, err := c.Deploy(t.Context(), anna, wish(1))
			placed = err == nil
		}
		done.Wait()
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
