package ledger

import (
	"cmp"
	"math/big"
	"math/bits"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/money"
)

// Horizon is how far ahead a runway is looked at: what lasts longer is not
// foreseen to end.
const Horizon = 100 * 365 * 24 * time.Hour

// Line is what one VM takes of its customer's balance, epoch by epoch.
type Line struct {
	VM      string
	Price   money.Amount  // per epoch
	Epoch   time.Duration // from one charge to the next
	Next    time.Time     // when the next one is due
	Reserve money.Amount
}

// Runway is how long a balance lasts when nothing is paid in and nothing changes.
type Runway struct {
	// Until is when the first charge or top-up can't be paid, and Short the VM
	// that it is of: it runs on what is paid. The zero time when that is further
	// ahead than Horizon.
	Until time.Time
	Short string
	// Off is when the first VM is powered off for it, and Unpaid that VM.
	Off    time.Time
	Unpaid string
}

// Lasts returns how long a balance lasts for VMs whose epochs may stay unpaid
// for a grace, as their meters would find out: of what is due at one time, the
// VM whose epoch was due first goes first, of equals the one of the lower id.
func Lasts(free money.Amount, lines []Line, grace time.Duration, now time.Time) Runway {
	r := race{free: free, grace: grace.Microseconds(), from: now.UnixMicro()}
	for _, l := range lines {
		if l.Price > 0 { // a provider may give VMs away
			r.runners = append(r.runners, runner{l, l.Next.UnixMicro(), l.Epoch.Microseconds()})
		}
	}
	r.run()
	return r.Runway
}

// race is VMs that draw on one balance until it is used up. Times are in
// microseconds.
type race struct {
	Runway
	runners []runner     // that nothing was refused yet
	free    money.Amount // at the beginning, less what was drawn by those that are out
	grace   int64
	from    int64
	overdue int64 // when the epoch was due that Unpaid is powered off for
}

// run goes from one refusal to the next until none can be of a VM that is
// powered off sooner.
func (r *race) run() {
	for len(r.runners) > 0 {
		at, ok := r.refusal()
		if !ok || !r.Off.IsZero() && at+r.shortest()+r.grace > r.Off.UnixMicro() {
			return
		}
		if r.Until.IsZero() {
			r.Until = time.UnixMicro(at).UTC()
		}
		r.pay(at)
	}
}

// refusal returns the first time at which more was drawn than there is.
func (r *race) refusal() (at int64, ok bool) {
	low, high := r.from, r.from+Horizon.Microseconds()
	if r.drawn(high) <= r.free {
		return 0, false
	}
	for low < high {
		if middle := low + (high-low)/2; r.drawn(middle) > r.free {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low, true
}

// drawn returns what was drawn by all until a time.
func (r *race) drawn(at int64) (sum money.Amount) {
	for _, one := range r.runners {
		sum = plus(sum, one.drawn(at))
	}
	return sum
}

func (r *race) shortest() int64 {
	return slices.MinFunc(r.runners, func(a, b runner) int { return cmp.Compare(a.epoch, b.epoch) }).epoch
}

// pay pays what is due at a time as far as the money goes, and takes those out
// that it does not reach.
func (r *race) pay(at int64) {
	budget := r.free
	slices.SortFunc(r.runners, func(a, b runner) int {
		if at == r.from && a.next != b.next {
			return cmp.Compare(a.next, b.next)
		}
		return cmp.Compare(a.VM, b.VM)
	})
	before := func(one runner) (drawn money.Amount, charged int64) {
		if at == r.from {
			return 0, 0
		}
		return one.drawn(at - 1), one.due(at - 1)
	}
	for _, one := range r.runners {
		drawn, _ := before(one)
		budget -= drawn
	}
	// What is due after from is due once at a time: all of it is due now.
	r.runners = slices.DeleteFunc(r.runners, func(one runner) bool {
		drawn, charged := before(one)
		need := one.drawn(at) - drawn
		if need <= budget {
			budget -= need
			return false
		}
		reserve := one.Reserve + drawn - money.Amount(charged)*one.Price
		paid := min(one.due(at)-charged, int64(plus(reserve, budget)/one.Price))
		extra := max(0, money.Amount(paid)*one.Price-reserve)
		budget -= extra
		r.free -= drawn + extra
		if r.Short == "" {
			r.Short = one.VM
		}
		r.out(one, one.next+(charged+paid)*one.epoch, at)
		return true
	})
}

// out notes that a VM is powered off once its grace is over for an epoch that is
// due at a time. Those that are overdue at the beginning are so in their order.
func (r *race) out(one runner, due, now int64) {
	off := time.UnixMicro(max(now, due+r.grace)).UTC()
	order := off.Compare(r.Off)
	if order == 0 && due+r.grace > r.from {
		order = cmp.Or(cmp.Compare(due, r.overdue), cmp.Compare(one.VM, r.Unpaid))
	}
	if r.Off.IsZero() || order < 0 {
		r.Off, r.Unpaid, r.overdue = off, one.VM, due
	}
}

// runner is one VM on its way.
type runner struct {
	Line
	next, epoch int64
}

// due returns how many epochs are due until a time.
func (r runner) due(at int64) int64 {
	if at < r.next {
		return 0
	}
	return (at-r.next)/r.epoch + 1
}

// drawn returns what a VM has drawn until a time that gets all that it needs:
// what was charged and one epoch in reserve, less the reserve that it began with.
func (r runner) drawn(at int64) money.Amount {
	return max(0, times(r.Price, r.due(at)+1)-r.Reserve)
}

// plus adds amounts that are not negative, up to money.Max.
func plus(a, b money.Amount) money.Amount {
	if a > money.Max-b {
		return money.Max
	}
	return a + b
}

// times multiplies what is not negative, up to money.Max.
func times(a money.Amount, n int64) money.Amount {
	high, low := bits.Mul64(uint64(a), uint64(n)) //nolint:gosec // neither is negative
	if high > 0 || low > uint64(money.Max) {
		return money.Max
	}
	return money.Amount(low)
}

// Missing returns what a balance has too little for VMs to get all that they
// need until a time, and at it.
func Missing(free money.Amount, lines []Line, until time.Time) money.Amount {
	sum := money.Amount(0)
	for _, l := range lines {
		sum = plus(sum, runner{l, l.Next.UnixMicro(), l.Epoch.Microseconds()}.drawn(until.UnixMicro()))
	}
	return max(0, sum-free)
}

// Rate returns what VMs cost in a time: each by its own epoch, all of it added up
// exactly and then rounded half up to a micro-USDC, once.
func Rate(lines []Line, span time.Duration) money.Amount {
	byEpoch := map[time.Duration]*big.Int{}
	for _, l := range lines {
		if byEpoch[l.Epoch] == nil {
			byEpoch[l.Epoch] = new(big.Int)
		}
		byEpoch[l.Epoch].Add(byEpoch[l.Epoch], big.NewInt(int64(l.Price)))
	}
	sum := new(big.Rat)
	for epoch, price := range byEpoch {
		share := big.NewRat(span.Microseconds(), epoch.Microseconds())
		sum.Add(sum, share.Mul(share, new(big.Rat).SetInt(price)))
	}
	half := new(big.Int).Add(new(big.Int).Lsh(sum.Num(), 1), sum.Denom())
	rounded := half.Quo(half, new(big.Int).Lsh(sum.Denom(), 1))
	if !rounded.IsInt64() {
		return money.Max
	}
	return money.Amount(rounded.Int64())
}
