package ledger_test

import (
	"testing"

	"github.com/cpucloud/cpucloud/internal/ledger"
)

// What each kind of entry does to its customer's money.
func TestMoves(t *testing.T) {
	t.Parallel()
	hold, err := ledger.Reservation(now, "anna", "0x1", 5)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		entry     ledger.Entry
		direction ledger.Direction
		purse     ledger.Purse
	}{
		{ledger.Credit(now, "anna", 10, "", "1"), ledger.In, ledger.Purse{Free: 10}},
		{ledger.Debit(now, "anna", 10, "", "1"), ledger.Out, ledger.Purse{Free: -10}},
		{hold, ledger.ToReserve, ledger.Purse{Free: -10, Reserved: 10}},
		{ledger.Rent(now, "anna", "0x1", "nord", 10, 1), ledger.Out, ledger.Purse{Reserved: -10}},
		{ledger.Undelivered(now, "anna", "0x1", "nord", 10, 1), ledger.In, ledger.Purse{Reserved: 10}},
		{ledger.Release(now, "anna", "0x1", 10, "", 1), ledger.ToBalance, ledger.Purse{Free: 10, Reserved: -10}},
		{ledger.Entry{From: ledger.Customer("anna"), To: ledger.Customer("bert"), Amount: 10}, ledger.Out, ledger.Purse{Free: -10}},
		{ledger.Entry{From: ledger.Customer("bert"), To: ledger.Customer("anna"), Amount: 10}, ledger.In, ledger.Purse{Free: 10}},
		{ledger.Entry{From: ledger.Earned("nord"), To: ledger.Customer("anna"), Amount: 10}, ledger.In, ledger.Purse{Free: 10}},
	} {
		direction, purse := c.entry.Moves("anna")
		if direction != c.direction || purse != c.purse {
			t.Errorf("%s from %s to %s: got %s %+v, want %s %+v", c.entry.Kind, c.entry.From, c.entry.To, direction, purse, c.direction, c.purse)
		}
	}
	a, b := ledger.Purse{Free: 5, Reserved: 3}, ledger.Purse{Free: 1, Reserved: 4}
	if got := a.Plus(b).Minus(b); got != a || a.Total() != 8 || a.Minus(b) != (ledger.Purse{Free: 4, Reserved: -1}) {
		t.Errorf("%+v plus and minus %+v is %+v", a, b, got)
	}
}
