package store_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Whoever had many VMs finds those that are left without going through them all,
// and what all of them cost stays known.
func TestVMsThatAreOver(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		s := e.Open(t)
		err := s.Write(t.Context(), func(tx *store.Tx) error {
			var o store.Orders
			for i := range 2_000 {
				v := vm.VM{
					ID: fmt.Sprint("0x", i), AccountID: "anna", ServerID: fmt.Sprint("srv_", i), Address: netip.AddrFrom4([4]byte{10, 0, 0, 1}),
					Goal: vm.Remove, State: vm.Stopped, Epoch: time.Hour, Name: fmt.Sprint("vm-", i), Spent: 2, Gone: true, CreatedAt: time.Unix(int64(i), 0),
				}
				switch i {
				case 7:
					v.Goal, v.State, v.Gone = vm.Run, vm.Active, false
				case 8:
					v.Gone = false // deleted, and still on its server
				}
				o.VMs = append(o.VMs, v)
			}
			return tx.StoreOrders(t.Context(), o)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Exec(t.Context(), "ANALYZE"); err != nil {
			t.Fatal(err)
		}
		if err := s.Read(t.Context(), func(tx *store.Tx) error {
			list, err := tx.VMs(t.Context(), store.Filter{AccountID: "anna"})
			if err != nil || len(list) != 1 || list[0].ID != "0x7" {
				t.Errorf("VMs = %d of them, %v, want 0x7 alone", len(list), err)
			}
			costing, err := tx.CostingVMs(t.Context(), "anna")
			if err != nil || len(costing) != 1 || costing[0].VM != "0x7" {
				t.Errorf("CostingVMs = %v, %v, want 0x7 alone", costing, err)
			}
			if _, spent, err := tx.Money(t.Context(), "anna"); err != nil || spent != 4_000 {
				t.Errorf("Money: spent %d, %v, want 2 for each VM that there ever was", spent, err)
			}
			plan, err := tx.ExplainVMs(t.Context(), store.Filter{AccountID: "anna", Limit: 10})
			if err != nil || !strings.Contains(plan, "vms_account") || strings.Contains(plan, "Seq Scan on vms") {
				t.Errorf("VMs are not found by their index: %s, %v", plan, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}
