package control

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// AccountEvent is something that an account was told.
type AccountEvent = store.AccountEvent

// MaxAccountEvents is how many events of an account are told at once.
const MaxAccountEvents = 200

// AccountEvents returns up to limit of what the actor's account was told, the
// newest first; before is the number of the last one of the page before, 0 for
// the first page.
func (s *Service) AccountEvents(ctx context.Context, who account.Actor, before int64, limit int) (list []AccountEvent, err error) {
	if limit < 1 || limit > MaxAccountEvents || before < 0 {
		return nil, fault.Newf(fault.Invalid, "a page has 1 to %d events, not %d", MaxAccountEvents, limit)
	}
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		list, err = tx.AccountEvents(ctx, who.AccountID, before, limit)
		return err
	})
	return list, err
}

// Warning is what a customer should know of its money now.
type Warning struct {
	Key  string // the same as long as it is about the same
	Text string
}

// levels are of how many days of funds a customer is warned.
var levels = []int64{7, 3, 1}

// level returns of how few days it is that funds last, 0 when they last longer
// than any.
func (f *foresight) level() (level int64) {
	for _, days := range levels {
		if !f.Until.IsZero() && !f.Until.After(f.now.Add(time.Duration(days)*day)) {
			level = days
		}
	}
	return level
}

// lookAgain returns when the level falls next, the zero time when it doesn't.
func (f *foresight) lookAgain() time.Time {
	for _, days := range levels {
		if at := f.Until.Add(-time.Duration(days) * day); !f.Until.IsZero() && at.After(f.now) {
			return at
		}
	}
	return time.Time{}
}

// warnings returns what the customer should know now.
func (f *foresight) warnings() (list []Warning) {
	if level := f.level(); level > 0 && f.Until.After(f.now) {
		list = append(list, Warning{Key: levelKey(level), Text: f.lowText()})
	}
	if names, first := f.which(vm.SmallBalance); len(names) > 0 {
		list = append(list, Warning{Key: "small_balance", Text: fmt.Sprintf(
			"%s %s on what is paid: the balance can't fill %s. %s powered off at %s unless the balance grows; the disk is kept for %s. %s",
			enumerate(names), numbered(len(names), "runs", "run"), numbered(len(names), "its reserve", "their reserves"),
			numbered(len(names), "It is", "The first of them is"), clock(first), span(f.Retention), f.moreText())})
	}
	if names, first := f.which(vm.InsufficientFunds); len(names) > 0 {
		list = append(list, Warning{Key: "powered_off", Text: fmt.Sprintf(
			"%s %s powered off, as an epoch is not paid. %s is kept until %s; with enough money in the balance %s again by then. %s",
			enumerate(names), numbered(len(names), "is", "are"), numbered(len(names), "Its disk", "The first of their disks"), clock(first),
			numbered(len(names), "it starts", "they start"), f.moreText())})
	}
	return list
}

// which returns the names of the VMs that wait for money in a state, and when the
// first of them leaves it for want of it.
func (f *foresight) which(state vm.State) (names []string, first time.Time) {
	for _, v := range f.vms {
		end := v.Deadline
		if state == vm.SmallBalance {
			end = v.Next.Add(f.Grace)
		}
		if v.State != state {
			continue
		}
		names = append(names, v.Name)
		if first.IsZero() || end.Before(first) {
			first = end
		}
	}
	return names, first
}

func levelKey(level int64) string { return fmt.Sprintf("funds_%dd", level) }

// lowText says what happens when the balance is used up, when that is, and how
// much to pay in.
func (f *foresight) lowText() string {
	return fmt.Sprintf("The balance of %s USDC lasts until %s, %s from now. From then on %s runs on what is paid; "+
		"unless the balance grows, %s is powered off at %s. Its disk is kept for %s. %s",
		f.free, clock(f.Until), span(f.Until.Sub(f.now)), f.name(f.Short), f.name(f.Unpaid), clock(f.Off), span(f.Retention), f.moreText())
}

// moreText says how much to pay in.
func (f *foresight) moreText() string {
	return fmt.Sprintf("Add %s USDC to last until %s.", f.more, clock(f.then))
}

func (f *foresight) name(vmID string) string {
	for _, v := range f.vms {
		if v.VM == vmID {
			return v.Name
		}
	}
	return vmID
}
