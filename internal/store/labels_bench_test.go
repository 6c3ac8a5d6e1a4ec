package store_test

import (
	"fmt"
	"testing"

	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// What it takes to choose VMs by labels out of 10,000 of one account, each of which
// has five.
func BenchmarkLabels(b *testing.B) {
	for _, e := range storetest.Engines() {
		b.Run(e.Name, func(b *testing.B) { benchmarkLabels(b, e.Open(b)) })
	}
}

func benchmarkLabels(b *testing.B, s *store.Store) {
	b.Helper()
	const vms, servers, group = 10_000, 100, 1000
	ctx := b.Context()
	furnish(b, s, servers)
	for n := 0; n < vms; n += group {
		var o store.Orders
		for i := n; i < n+group; i++ {
			v := benchVM(i, fmt.Sprintf("srv_%06d", i%servers))
			v.Labels = vm.Labels{
				"env": []string{"prod", "test"}[i%2], "tier": "web", "owner": fmt.Sprint("o", i%1000), "zone": fmt.Sprint("z", i%10), "n": fmt.Sprint(i),
			}
			o.VMs = append(o.VMs, v)
		}
		if err := s.Write(ctx, func(tx *store.Tx) error { return tx.StoreOrders(ctx, o) }); err != nil {
			b.Fatal(err)
		}
	}
	for text, want := range map[string]int{
		"": vms, "n=77": 1, "owner=o3": 10, "env=prod,owner in (o2,o4)": 20, "tier=web,zone=z3,env!=prod": 1000, "env!=prod": 5000, "!temp": vms, "!tier": 0,
	} {
		chosen, err := vm.ParseSelector(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("%d/%s", want, chosen), func(b *testing.B) {
			for b.Loop() {
				if err := s.Read(ctx, func(tx *store.Tx) error {
					list, err := tx.VMs(ctx, store.Filter{AccountID: "acc", Labels: chosen})
					if err == nil && len(list) != want {
						err = fmt.Errorf("%d VMs, want %d", len(list), want)
					}
					return err
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
