package ledger_test

import (
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

const day = 24 * time.Hour

// A VM whose reserve holds an epoch draws one at each of its charges. The balance
// lasts until one can't be drawn; the reserve is then what it runs on for one
// epoch more.
func TestLasts(t *testing.T) {
	t.Parallel()
	line := ledger.Line{VM: "a", Price: 10, Epoch: day, Next: now.Add(5 * time.Hour), Reserve: 10}
	other := ledger.Line{VM: "b", Price: 3, Epoch: time.Hour, Next: now.Add(time.Minute), Reserve: 3}
	at := func(d time.Duration) time.Time { return now.Add(d).UTC() }
	short, paid, starting, gratis := line, line, line, line
	short.Reserve, starting.Reserve, starting.Next, gratis.Price, gratis.Reserve = 4, 20, now, 0, 0
	paid.VM = "c"
	for name, c := range map[string]struct {
		free  money.Amount
		lines []ledger.Line
		grace time.Duration
		want  ledger.Runway
	}{
		"nothing runs":         {free: 0, want: ledger.Runway{}},
		"what costs nothing":   {free: 0, lines: []ledger.Line{gratis}, want: ledger.Runway{}},
		"no balance":           {free: 0, lines: []ledger.Line{line}, want: ledger.Runway{Until: at(5 * time.Hour), Short: "a", Off: at(29 * time.Hour), Unpaid: "a"}},
		"a micro-USDC too few": {free: 29, lines: []ledger.Line{line}, want: ledger.Runway{Until: at(53 * time.Hour), Short: "a", Off: at(77 * time.Hour), Unpaid: "a"}},
		"just enough":          {free: 30, lines: []ledger.Line{line}, want: ledger.Runway{Until: at(77 * time.Hour), Short: "a", Off: at(101 * time.Hour), Unpaid: "a"}},
		"with a grace": {
			free: 0, lines: []ledger.Line{line}, grace: time.Hour,
			want: ledger.Runway{Until: at(5 * time.Hour), Short: "a", Off: at(30 * time.Hour), Unpaid: "a"},
		},
		"short already":     {free: 5, lines: []ledger.Line{short}, want: ledger.Runway{Until: at(0), Short: "a", Off: at(5 * time.Hour), Unpaid: "a"}},
		"short and payable": {free: 6, lines: []ledger.Line{short}, want: ledger.Runway{Until: at(5 * time.Hour), Short: "a", Off: at(29 * time.Hour), Unpaid: "a"}},
		"on its way to run": {free: 0, lines: []ledger.Line{starting}, want: ledger.Runway{Until: at(day), Short: "a", Off: at(2 * day), Unpaid: "a"}},
		"two at one time, the lower id first": {
			free: 10, lines: []ledger.Line{paid, line}, want: ledger.Runway{Until: at(5 * time.Hour), Short: "c", Off: at(29 * time.Hour), Unpaid: "c"},
		},
		"the one that is short later is powered off sooner": {
			free: 16, lines: []ledger.Line{line, other},
			want: ledger.Runway{Until: at(5 * time.Hour), Short: "a", Off: at(6*time.Hour + time.Minute), Unpaid: "b"},
		},
		"longer than anyone looks": {free: money.Max, lines: []ledger.Line{line}, want: ledger.Runway{}},
	} {
		if got := ledger.Lasts(c.free, c.lines, c.grace, now); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
	}
}

// drawLines draws VMs of one customer: running, short of money, on their way to
// run, and some whose epochs went by while nobody charged them.
func drawLines(t *rapid.T) []ledger.Line {
	lines := make([]ledger.Line, rapid.IntRange(1, 5).Draw(t, "VMs"))
	for i := range lines {
		epoch := time.Duration(rapid.SampledFrom([]int64{1, 2, 5, 24, 25}).Draw(t, "epoch")) * time.Hour
		price := money.Amount(rapid.Int64Range(0, 9).Draw(t, "price"))
		lines[i] = ledger.Line{
			VM: fmt.Sprint("v", i), Price: price, Epoch: epoch,
			Next:    now.Add(time.Duration(rapid.Int64Range(-10, 30).Draw(t, "next")) * 30 * time.Minute),
			Reserve: money.Amount(rapid.SampledFrom([]int64{0, int64(price) / 2, int64(price), int64(price), 2 * int64(price)}).Draw(t, "reserve")),
		}
	}
	return lines
}

// What is foreseen is what the meters find when they run on: when the first VM
// gets less than it needs, when the first is powered off, and which they are.
func TestLastsAsMetersRun(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lines := drawLines(t)
		free := money.Amount(rapid.Int64Range(0, 300).Draw(t, "free"))
		grace := time.Duration(rapid.SampledFrom([]int64{0, 0, 3, 26}).Draw(t, "grace")) * time.Hour
		got, want := ledger.Lasts(free, lines, grace, now), meters(t, free, lines, grace)
		if got != want {
			t.Fatalf("%s USDC for %+v, grace %s:\n got %+v\nwant %+v", free, lines, grace, got, want)
		}
	})
}

// metered returns the meters of VMs, and a sheet with their money.
func metered(free money.Amount, lines []ledger.Line, grace time.Duration) (*ledger.Sheet, []*ledger.Meter) {
	var sheet ledger.Sheet
	sheet.Know(ledger.Customer("a"), ledger.Standing{Amount: free})
	sheet.Know(ledger.Pending("p"), ledger.Standing{})
	meters := make([]*ledger.Meter, len(lines))
	for i, l := range lines {
		sheet.Know(ledger.Reserve(l.VM), ledger.Standing{Amount: l.Reserve})
		meters[i] = &ledger.Meter{AccountID: "a", VM: l.VM, ProviderID: "p", Price: l.Price, Epoch: l.Epoch, Grace: grace, Next: l.Next}
	}
	return &sheet, meters
}

// meters runs the meters of VMs until one is powered off.
func meters(t *rapid.T, free money.Amount, lines []ledger.Line, grace time.Duration) (r ledger.Runway) {
	sheet, all := metered(free, lines, grace)
	running := slices.DeleteFunc(all, func(m *ledger.Meter) bool { return m.Price == 0 })
	short := map[string]bool{}
	wakes := func(m *ledger.Meter) time.Time { // when it is looked at next
		if short[m.VM] {
			return m.Next.Add(grace)
		}
		return m.Next
	}
	for at, first := now, true; len(running) > 0; first = false {
		slices.SortFunc(running, func(a, b *ledger.Meter) int {
			if c := a.Next.Compare(b.Next); c != 0 {
				return c
			}
			return int(a.VM[1]) - int(b.VM[1])
		})
		for _, m := range running {
			if !first && wakes(m).After(at) {
				continue
			}
			cover, err := m.Run(sheet, at)
			if err != nil {
				t.Fatalf("Run: %v", err)
			}
			if cover != ledger.Full && r.Until.IsZero() {
				r.Until, r.Short = at.UTC(), m.VM
			}
			short[m.VM] = cover != ledger.Full
			if cover == ledger.Unpaid && r.Off.IsZero() {
				r.Off, r.Unpaid = at.UTC(), m.VM
			}
		}
		if !r.Off.IsZero() {
			return r
		}
		at = wakes(slices.MinFunc(running, func(a, b *ledger.Meter) int { return wakes(a).Compare(wakes(b)) }))
	}
	return r
}

// What is missing until a time is the least that makes the balance last longer
// than it.
func TestMissing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lines := drawLines(t)
		free := money.Amount(rapid.Int64Range(0, 50).Draw(t, "free"))
		until := now.Add(time.Duration(rapid.Int64Range(0, 200).Draw(t, "hours")) * time.Hour)
		lasts := func(free money.Amount) bool {
			r := ledger.Lasts(free, lines, 0, now)
			return r.Until.IsZero() || r.Until.After(until)
		}
		missing := ledger.Missing(free, lines, until)
		if !lasts(free + missing) {
			t.Errorf("%s USDC more don't last until %s", missing, until)
		}
		if missing > 0 && lasts(free+missing-1) {
			t.Errorf("less than %s USDC would do", missing)
		}
	})
}

// Time passes and meters run, and what is foreseen stays.
func TestLastsStays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lines, free := drawLines(t), money.Amount(rapid.Int64Range(0, 300).Draw(t, "free"))
		before := ledger.Lasts(free, lines, 0, now)
		if before.Until.IsZero() || before.Until.Equal(now) {
			return
		}
		later := now.Add(time.Duration(rapid.Int64Range(0, before.Until.Sub(now).Microseconds()-1).Draw(t, "later")) * time.Microsecond)
		sheet, running := metered(free, lines, 0)
		for i, m := range running {
			if cover, err := m.Run(sheet, later); err != nil || cover != ledger.Full {
				t.Fatalf("Run: %s, %v", cover, err)
			}
			lines[i].Next, lines[i].Reserve = m.Next, sheet.Holds(ledger.Reserve(m.VM))
		}
		if after := ledger.Lasts(sheet.Holds(ledger.Customer("a")), lines, 0, later); after != before {
			t.Errorf("at %s:\n got %+v\nwant %+v", later, after, before)
		}
	})
}

func TestRate(t *testing.T) {
	t.Parallel()
	line := func(price money.Amount, epoch time.Duration) ledger.Line {
		return ledger.Line{Price: price, Epoch: epoch}
	}
	for name, c := range map[string]struct {
		lines []ledger.Line
		span  time.Duration
		want  money.Amount
	}{
		"nothing":                        {nil, day, 0},
		"its own epoch":                  {[]ledger.Line{line(840_000, day)}, day, 840_000},
		"half of it":                     {[]ledger.Line{line(3, 2*day)}, day, 2},
		"rounded once, not for each":     {[]ledger.Line{line(1, 4*day), line(1, 4*day)}, day, 1},
		"epochs of different length":     {[]ledger.Line{line(1, 3*day), line(1, 6*day)}, day, 1},
		"thirty days are not thirty × 0": {[]ledger.Line{line(1, 30*day)}, 30 * day, 1},
		"more than can be counted":       {[]ledger.Line{line(money.Max, time.Microsecond)}, day, money.Max},
	} {
		if got := ledger.Rate(c.lines, c.span); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		lines := drawLines(t)
		exact := new(big.Rat)
		for _, l := range lines {
			exact.Add(exact, new(big.Rat).Mul(big.NewRat(int64(l.Price), 1), big.NewRat(int64(30*day), int64(l.Epoch))))
		}
		off := new(big.Rat).Sub(exact, big.NewRat(int64(ledger.Rate(lines, 30*day)), 1))
		if off.Abs(off).Cmp(big.NewRat(1, 2)) > 0 {
			t.Errorf("off by %s", off)
		}
	})
}
