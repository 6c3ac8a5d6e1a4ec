package ledger_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

// However charges and returns are divided, the parts add up to them.
func TestPartedSpend(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var whole ledger.Spend
		var parted ledger.PartedSpend
		for range rapid.IntRange(0, 9).Draw(t, "entries") {
			kind := rapid.SampledFrom([]ledger.Kind{ledger.Charge, ledger.Return, ledger.TopUp}).Draw(t, "kind")
			amount, n := money.Amount(rapid.Int64Range(1, 1_000_000).Draw(t, "amount")), rapid.Int64Range(1, 40).Draw(t, "n")
			var prices [ledger.Resources]money.Amount
			for i := range prices {
				prices[i] = money.Amount(rapid.SampledFrom([]int64{0, 1, 7, 100_003}).Draw(t, "price"))
			}
			whole.Add(kind, amount, n)
			parted.Add(kind, amount, n, prices)
		}
		var sum ledger.Spend
		for _, part := range parted {
			if part.Epochs > whole.Epochs {
				t.Errorf("a part has %d epochs of %d", part.Epochs, whole.Epochs)
			}
			sum = sum.Plus(part)
		}
		sum.Epochs = whole.Epochs
		if sum != whole {
			t.Errorf("the parts add up to %+v, not %+v", sum, whole)
		}
	})
}

// A charge that is a VM's price is divided into the parts of the price as they are.
func TestPartedSpendOfPrice(t *testing.T) {
	t.Parallel()
	var parted ledger.PartedSpend
	parted.Add(ledger.Charge, 840, 3, [4]money.Amount{400, 240, 100, 100})
	parted.Add(ledger.Return, 7, 1, [4]money.Amount{400, 240, 100, 100}) // 3.33, 2, 0.83 and 0.83
	parted.Add(ledger.Charge, 5, 1, [4]money.Amount{})
	want := ledger.PartedSpend{{1200, 3, 3}, {720, 2, 3}, {300, 1, 3}, {300, 1, 3}, {5, 0, 1}}
	if parted != want {
		t.Errorf("got %+v, want %+v", parted, want)
	}
	if got := parted[0].Plus(parted[1]).Minus(parted[1]); got != parted[0] || got.Net() != 1197 {
		t.Errorf("got %+v, net %s", got, got.Net())
	}
}
