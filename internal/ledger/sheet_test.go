package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

// However entries are posted: balances are the sums of what was taken and given,
// none but external falls below zero, and each entry is the next link in the
// chains of both of its accounts.
func TestSheet(t *testing.T) {
	t.Parallel()
	accounts := []ledger.Account{ledger.External, ledger.Customer("a"), ledger.Customer("b"), ledger.Reserve("v"), ledger.Platform}
	rapid.Check(t, func(t *rapid.T) {
		var s ledger.Sheet
		for _, a := range accounts {
			s.Know(a, ledger.Standing{})
		}
		holds, heads := map[ledger.Account]money.Amount{}, map[ledger.Account]ledger.Hash{}
		var want []ledger.Sealed
		for i := range rapid.IntRange(0, 30).Draw(t, "entries") {
			e := ledger.Entry{
				At: time.UnixMicro(int64(i)), Kind: ledger.TopUp, From: rapid.SampledFrom(accounts).Draw(t, "from"), To: rapid.SampledFrom(accounts).Draw(t, "to"),
				Amount: money.Amount(rapid.Int64Range(-1, 9).Draw(t, "amount")), Key: fmt.Sprint("k", i), Reason: "r",
			}
			err := s.Post(e)
			switch {
			case e.Check() != nil:
				if !fault.Is(err, fault.Internal) {
					t.Fatalf("Post(%+v): got %v, want an Internal fault", e, err)
				}
				continue
			case holds[e.From] < e.Amount && e.From != ledger.External:
				if !fault.Is(err, fault.Unaffordable) {
					t.Fatalf("Post(%+v) with %s: got %v, want an Unaffordable fault", e, holds[e.From], err)
				}
				continue
			case err != nil:
				t.Fatalf("Post(%+v): %v", e, err)
			}
			sealed := ledger.Seal(e, heads[e.From], heads[e.To])
			want = append(want, sealed)
			holds[e.From] -= e.Amount
			holds[e.To] += e.Amount
			heads[e.From], heads[e.To] = sealed.Hash, sealed.Hash
		}
		posted, _ := s.Take()
		if len(posted) != len(want) {
			t.Fatalf("%d entries were posted, want %d", len(posted), len(want))
		}
		for i, e := range posted {
			if e != want[i] {
				t.Fatalf("entry %d: got %+v, want %+v", i, e, want[i])
			}
		}
		for _, a := range accounts {
			if got, want := s.Holds(a), holds[a]; got != want {
				t.Errorf("%s holds %s, want %s", a, got, want)
			}
		}
		if again, touched := s.Take(); len(again)+len(touched) != 0 {
			t.Errorf("what was taken is there again: %v, %v", again, touched)
		}
	})
}

// What a provider's account comes to can be left for later, when it is written
// once for many entries.
func TestTakeBut(t *testing.T) {
	t.Parallel()
	var s ledger.Sheet
	reserve, pending := ledger.Reserve("v"), ledger.Pending("p")
	s.Know(reserve, ledger.Standing{Amount: 10})
	s.Know(pending, ledger.Standing{})
	take := func(posted []ledger.Sealed, touched []ledger.Account) string { return fmt.Sprint(len(posted), touched) }
	for n, want := range []string{"1 [vm:v]", "1 [vm:v]"} {
		if err := s.Post(ledger.Rent(time.Unix(1, 0), "anna", "v", "p", 1, int64(n))); err != nil {
			t.Fatal(err)
		}
		if got := take(s.TakeBut(ledger.Account.OfProvider)); got != want {
			t.Errorf("take %d: got %s, want %s", n, got, want)
		}
	}
	if got, want := take(s.Take()), "0 [provider:p:pending]"; got != want {
		t.Errorf("the rest: got %s, want %s", got, want)
	}
	if got, want := s.Holds(pending), money.Amount(2); got != want {
		t.Errorf("it holds %s, want %s", got, want)
	}
}

// A seal covers every member of an entry, and what stands before it.
func TestSeal(t *testing.T) {
	t.Parallel()
	e := ledger.Entry{
		At: time.UnixMicro(5), Kind: ledger.Charge, From: "a", To: "b", Amount: 3, VM: "v", Epoch: 2, Reason: "r", Key: "k",
	}
	seen := map[ledger.Hash]string{}
	note := func(what string, h ledger.Hash) {
		if other, twice := seen[h]; twice {
			t.Errorf("%s has the seal of %s", what, other)
		}
		seen[h] = what
	}
	note("the entry", ledger.Seal(e, "1", "2").Hash)
	note("another chain of from", ledger.Seal(e, "3", "2").Hash)
	note("another chain of to", ledger.Seal(e, "1", "3").Hash)
	note("chains swapped", ledger.Seal(e, "2", "1").Hash)
	for what, change := range map[string]func(*ledger.Entry){
		"another time": func(e *ledger.Entry) { e.At = e.At.Add(time.Microsecond) }, "another kind": func(e *ledger.Entry) { e.Kind = ledger.TopUp },
		"another from": func(e *ledger.Entry) { e.From = "c" }, "another to": func(e *ledger.Entry) { e.To = "c" },
		"another amount": func(e *ledger.Entry) { e.Amount++ }, "another VM": func(e *ledger.Entry) { e.VM = "w" },
		"another epoch": func(e *ledger.Entry) { e.Epoch++ }, "another reason": func(e *ledger.Entry) { e.Reason = "s" },
		"another key": func(e *ledger.Entry) { e.Key = "l" }, "a letter moved": func(e *ledger.Entry) { e.VM, e.Reason = "vr", "" },
	} {
		changed := e
		change(&changed)
		note(what, ledger.Seal(changed, "1", "2").Hash)
	}
}

// Seals are kept for good: what was sealed before entries had actors still fits,
// and an actor changes the seal.
func TestSealStays(t *testing.T) {
	t.Parallel()
	e := ledger.Credit(now, "anna", 100, "a gift", "pay_1")
	const before = "ytogNb0iA/n4YrBlB3RWKOPrdxPI35QlOX1Zbl2Exsk"
	if got := ledger.Seal(e, "from", "to").Hash; got != before {
		t.Errorf("seal %q, want %q", got, before)
	}
	e.Actor = "acc_olga/key_1"
	if got := ledger.Seal(e, "from", "to").Hash; got == before {
		t.Error("an actor is not sealed")
	}
}
