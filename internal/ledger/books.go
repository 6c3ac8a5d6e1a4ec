package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// mostFindings is how many findings are told one by one.
const mostFindings = 1_000

// Finding is something in the stored ledger that can't be.
type Finding struct {
	Account Account // that it is about, "" for none
	Entry   string  // key of the entry that it is about, "" for none
	Text    string
}

// Books are a ledger gone through again from its first entry: what follows from
// the entries alone. The zero value is ready to use.
type Books struct {
	Entries   int64
	Findings  []Finding
	standings map[Account]*Standing
	paid      map[string]money.Amount // by VM
	payouts   map[string]Payout       // by withdrawal
}

// Payout is what entries say of a withdrawal.
type Payout struct {
	Asked, Paid, Restored money.Amount
}

// Read takes the next entry in the order in which they were written. It keeps
// clones of what it has to remember: the texts of many entries may share memory.
func (b *Books) Read(e *Sealed) {
	from, to := b.standing(e.From), b.standing(e.To)
	b.Entries++
	if err := e.Check(); err != nil {
		b.find(Finding{Entry: e.Key, Text: err.Error()})
	}
	if sealed := Seal(e.Entry, from.Head, to.Head); sealed.Hash != e.Hash {
		b.find(Finding{Entry: e.Key, Text: "its seal does not fit: it, or one before it in the chain of " + string(e.From) + " or " + string(e.To) + ", was changed or is gone"})
	}
	switch {
	case e.Kind == Charge || e.Kind == Return:
		b.pay(&e.Entry)
	case e.From.isWithdrawing() || e.To.isWithdrawing():
		b.payOut(&e.Entry)
	}
	// The chain goes on with what is stored, so that one change is one finding.
	head := Hash(strings.Clone(string(e.Hash)))
	from.Amount, from.Head = from.Amount-e.Amount, head
	to.Amount, to.Head = to.Amount+e.Amount, head
	if from.Amount < 0 && !e.From.MayOwe() {
		b.find(Finding{Account: e.From, Entry: e.Key, Text: fmt.Sprintf("the account falls to %s USDC", from.Amount)})
	}
}

// pay notes what a VM was charged, or got back of it.
func (b *Books) pay(e *Entry) {
	if b.paid == nil {
		b.paid = map[string]money.Amount{}
	}
	amount := e.Amount
	if e.Kind == Return {
		amount = -amount
	}
	paid, known := b.paid[e.VM]
	id := e.VM
	if !known {
		id = strings.Clone(id)
	}
	b.paid[id] = paid + amount
}

// payOut notes what became of a withdrawal, whose id stands behind the kind in
// the keys of its entries.
func (b *Books) payOut(e *Entry) {
	if b.payouts == nil {
		b.payouts = map[string]Payout{}
	}
	_, id, _ := strings.Cut(e.Key, ":")
	p := b.payouts[id]
	switch {
	case e.To.isWithdrawing():
		p.Asked += e.Amount
	case e.To == External:
		p.Paid += e.Amount
	default:
		p.Restored += e.Amount
	}
	b.payouts[strings.Clone(id)] = p
}

// Payouts returns what the entries read say of withdrawals, by their ids.
func (b *Books) Payouts() map[string]Payout { return maps.Clone(b.payouts) }

// Paid returns what a VM was charged by the entries read, less what was returned.
func (b *Books) Paid(vmID string) money.Amount { return b.paid[vmID] }

func (b *Books) standing(a Account) *Standing {
	if b.standings == nil {
		b.standings = map[Account]*Standing{}
	}
	s := b.standings[a]
	if s == nil {
		s = &Standing{}
		b.standings[Account(strings.Clone(string(a)))] = s
	}
	return s
}

func (b *Books) find(f Finding) {
	if len(b.Findings) < mostFindings {
		f.Account, f.Entry = Account(strings.Clone(string(f.Account))), strings.Clone(f.Entry)
		b.Findings = append(b.Findings, f)
	}
}

// Compare compares what follows from the entries with the standing that is
// stored of one account. Each account is compared once; what no stored account
// was compared with is found by Close.
func (b *Books) Compare(a Account, stored Standing) {
	counted := b.standings[a]
	if counted == nil {
		counted = &Standing{}
	}
	if stored.Amount != counted.Amount {
		b.find(Finding{Account: a, Text: fmt.Sprintf("the stored balance is %s USDC, its entries add up to %s", stored.Amount, counted.Amount)})
	}
	if stored.Head != counted.Head {
		b.find(Finding{Account: a, Text: "the stored balance does not stand behind the last entry of its account"})
	}
	delete(b.standings, a)
}

// Close finds the accounts that have entries and no stored balance.
func (b *Books) Close() []Finding {
	for _, a := range slices.Sorted(maps.Keys(b.standings)) {
		b.find(Finding{Account: a, Text: fmt.Sprintf("there is no stored balance, its entries add up to %s USDC", b.standings[a].Amount)})
	}
	b.standings = nil
	slices.SortStableFunc(b.Findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(x.Account, y.Account), cmp.Compare(x.Entry, y.Entry))
	})
	return b.Findings
}

// Err returns an Internal fault that tells the first finding, nil when there is
// none.
func (b *Books) Err() error {
	if len(b.Findings) == 0 {
		return nil
	}
	f := b.Findings[0]
	return fault.Newf(fault.Internal, "the ledger is not sound: %s %s: %s", f.Account, f.Entry, f.Text)
}
