package control

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	day       = 24 * time.Hour
	burnTime  = 7 * day  // over which the burn rate is an average
	moreTime  = 30 * day // for which a customer is told how much to pay in
	newEvents = 5        // of an account, told with it
)

// Outlook is an account with what its VMs cost, and how long its money lasts for
// them if nothing is paid in and nothing changes.
type Outlook struct {
	Balance
	// What VMs that run, or are on their way to, cost: by their own epochs, and
	// over days, each rounded half up once.
	PerEpoch, PerDay, Per30Days money.Amount
	// BurnRate is what was charged less what was returned, a day, on the average
	// of the last seven days or since the account was made, one day at least.
	BurnRate money.Amount
	// The runway. A VM that is on its way is taken to be Active now: in truth it
	// begins to cost later.
	ledger.Runway
	// For30Days is what has to be paid in for the money to last 30 days longer,
	// until Then: for 30 days from now when it is used up, with all that is powered
	// off for want of it.
	For30Days money.Amount
	Then      time.Time
	VMs       []StateCost // in the order of states
	Next      *Due        // nil when nothing is
	Warnings  []Warning
	Events    []AccountEvent // the newest first
}

// StateCost is the VMs in one state, and what they cost or would if they ran.
type StateCost struct {
	State    vm.State
	Count    int
	PerEpoch money.Amount
}

// DueKind is what falls due of a VM.
type DueKind string

// What falls due.
const (
	DueCharge   DueKind = "charge"   // an epoch is charged
	DuePowerOff DueKind = "powerOff" // it is powered off unless it is paid
	DuePurge    DueKind = "purge"    // it is ended and its disk purged unless it is paid
)

// Due is what falls due next.
type Due struct {
	At     time.Time
	Kind   DueKind
	VM     string
	Name   string
	Amount money.Amount // that is charged, or has to be paid for it not to happen
}

// Outlook returns the actor's account with what becomes of its money.
func (s *Service) Outlook(ctx context.Context, who account.Actor) (o Outlook, err error) {
	now := s.Now().UTC()
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		a, err := tx.Account(ctx, who.AccountID)
		if err != nil {
			return err
		}
		if o.Balance, err = balanceOf(ctx, tx, a); err != nil {
			return err
		}
		since := now.Add(-burnTime)
		if a.CreatedAt.After(since) {
			since = a.CreatedAt
		}
		paid, err := tx.Paid(ctx, a.ID, since)
		if err != nil {
			return err
		}
		o.BurnRate = average(paid, max(day, now.Sub(since)))
		vms, err := tx.CostingVMs(ctx, a.ID)
		if err != nil {
			return err
		}
		f := s.foresee(o.Free, vms, now)
		o.Runway, o.For30Days, o.Then, o.Warnings = f.Runway, f.more, f.then, f.warnings()
		running := f.lines(vm.State.Billed, vm.State.Starting)
		o.PerDay, o.Per30Days = ledger.Rate(running, day), ledger.Rate(running, moreTime)
		for _, l := range running {
			o.PerEpoch += l.Price
		}
		o.VMs, o.Next = f.states(), f.due()
		o.Events, err = tx.AccountEvents(ctx, a.ID, 0, newEvents)
		return err
	})
	return o, err
}

// average returns what an amount over a time, of a day or more, is a day, rounded
// half up.
func average(amount money.Amount, over time.Duration) money.Amount {
	if amount < 0 {
		return 0 // more was returned than charged
	}
	return amount.Share(day.Microseconds(), over.Microseconds())
}

// foresight is how long a balance lasts for the VMs of its customer.
type foresight struct {
	*Service
	ledger.Runway
	now  time.Time
	free money.Amount
	vms  []store.Costing
	more money.Amount // for moreTime longer
	then time.Time
}

// foresee looks ahead for an account of which all VMs are given that have not ended.
func (s *Service) foresee(free money.Amount, vms []store.Costing, now time.Time) *foresight {
	f := &foresight{Service: s, now: now, free: free, vms: vms}
	f.Runway = ledger.Lasts(free, f.lines(vm.State.Billed, vm.State.Starting), s.Grace, now)
	for _, v := range vms { // one that is short already has told so when it was
		if v.State == vm.SmallBalance && v.Since.Before(f.Until) {
			f.Until, f.Short = v.Since, v.VM
		}
	}
	f.then = now
	if f.Until.After(now) {
		f.then = f.Until
	}
	f.then = f.then.Add(moreTime)
	// What falls due just then need not be paid for the funds to last until then.
	f.more = ledger.Missing(free, f.lines(vm.State.Billed, vm.State.Starting, isOff), f.then.Add(-time.Microsecond))
	return f
}

func isOff(s vm.State) bool { return s == vm.InsufficientFunds }

// lines returns what VMs draw that are in a state of one of some kinds. One that
// does not run yet is taken to be charged now.
func (f *foresight) lines(kinds ...func(vm.State) bool) (lines []ledger.Line) {
	for _, v := range f.vms {
		for _, is := range kinds {
			if !is(v.State) {
				continue
			}
			l := v.Line
			if l.Next.IsZero() {
				l.Next = f.now
			}
			lines = append(lines, l)
			break
		}
	}
	return lines
}

// states returns how many VMs are in which state.
func (f *foresight) states() (list []StateCost) {
	for _, state := range []vm.State{vm.New, vm.Launching, vm.Active, vm.SmallBalance, vm.InsufficientFunds} {
		sum := StateCost{State: state}
		for _, v := range f.vms {
			if v.State == state {
				sum.Count++
				sum.PerEpoch += v.Price
			}
		}
		if sum.Count > 0 {
			list = append(list, sum)
		}
	}
	return list
}

// due returns what falls due next, nil when nothing does.
func (f *foresight) due() (next *Due) {
	for _, v := range f.vms {
		d := Due{VM: v.VM, Name: v.Name, Kind: DueCharge, At: v.Next, Amount: v.Price}
		switch v.State {
		case vm.Active:
		case vm.SmallBalance:
			d.Kind, d.At, d.Amount = DuePowerOff, v.Next.Add(f.Grace), max(0, v.Price-v.Reserve-f.free)
		case vm.InsufficientFunds:
			d.Kind, d.At, d.Amount = DuePurge, v.Deadline, max(0, ledger.DepositEpochs*v.Price-v.Reserve-f.free)
		case vm.New, vm.Launching, vm.Terminated, vm.Stopped, vm.Failed:
			continue
		}
		if next == nil || d.At.Before(next.At) {
			next = &d
		}
	}
	return next
}
