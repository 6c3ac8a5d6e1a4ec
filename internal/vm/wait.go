package vm

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/money"
)

// WaitFor is what a VM waits for.
type WaitFor string

// What a VM may wait for, and whose duty it is when the wait is over.
const (
	ForLaunch    WaitFor = "launch"    // its first start; control.Sweep places it elsewhere or gives it up
	ForStart     WaitFor = "start"     // being started again once it is paid; its agent tries again
	ForRepair    WaitFor = "repair"    // what its agent could not do; its agent tries again
	ForServer    WaitFor = "server"    // its server to be heard; control.Remind tells it again
	ForOperation WaitFor = "operation" // what its customer asked for; control.EndOperations gives it up
	ForMoney     WaitFor = "money"     // its reserve to be filled; control.Bill powers it off
	ForPayment   WaitFor = "payment"   // being paid for, its disk kept; control.Sweep ends it
	ForConfirm   WaitFor = "confirm"   // its ports to be confirmed; control.RevertPorts changes them back
	ForDrain     WaitFor = "drain"     // its customer to leave its server; control.EndDrains ends it
	ForUndelete  WaitFor = "undelete"  // being undeleted, its disk kept; control.PurgeDeleted purges it
	Nothing      WaitFor = "nothing"   // it has ended: nobody does anything more
)

// WaitFors are all there are.
var WaitFors = []WaitFor{ForLaunch, ForStart, ForRepair, ForServer, ForOperation, ForMoney, ForPayment, ForConfirm, ForDrain, ForUndelete, Nothing}

// Wait is one thing that a VM waits for, as its customer is told.
type Wait struct {
	For   WaitFor
	Why   string
	Since time.Time
	Until time.Time // when somebody acts; zero for Nothing alone
	Next  string    // what is tried until then, and done then
}

// Trouble is what an agent could not do yet for a VM, as it tells it; the zero value
// is none.
type Trouble struct {
	Text  string    `json:"text"`
	Since time.Time `json:"since"` // when it was told first
	Retry
}

// Same reports whether t says what o says.
func (t Trouble) Same(o Trouble) bool {
	return t.Text == o.Text && t.Since.Equal(o.Since) && t.Attempt == o.Attempt && t.Of == o.Of && t.At.Equal(o.At)
}

// Retry is the next try of an agent after one that failed; the zero value is none that
// is known.
type Retry struct {
	Attempt int       `json:"attempt,omitempty"` // how many were made
	Of      int       `json:"of,omitempty"`      // after how many it gives up; 0 for never
	At      time.Time `json:"at,omitzero"`       // when the next one is due
}

// LongestRetry is how long an agent lets pass at most until it tries again.
const LongestRetry = 5 * time.Minute

// RemindEvery is how often customers are told that a server is still not heard.
const RemindEvery = 24 * time.Hour

// Around is what has to be known besides a VM to say what it waits for.
type Around struct {
	Now          time.Time
	Grace        time.Duration // how long a VM runs on with an epoch unpaid
	Placings     int           // how often it was placed on another server
	Left         int           // how often it may still be
	Missing      money.Amount  // that it is short of, in a state that waits for money
	Busy         *Operation    // that goes on, nil for none
	SilentSince  time.Time     // when its server was heard last, once that is too long ago
	DrainedAt    time.Time     // when its provider ends it; zero where that is not planned
	DrainedSince time.Time     // when that was told
	PortsSince   time.Time     // when its ports were changed
}

// Waits returns all that v waits for, what is over first coming first; none for a VM
// that is as its customer wants it. Of one that has ended it says so. Nothing else
// says why a VM waits.
func (v VM) Waits(a Around) []Wait {
	var list []Wait
	switch v.State {
	case New, Launching:
		list = append(list, v.starting(a))
	case Active:
		list = v.repair(a, list)
	case SmallBalance:
		list = append(v.repair(a, list), v.short(a))
	case InsufficientFunds:
		list = append(list, v.unpaid(a))
	case Stopped:
		if !v.KeptUntil.IsZero() {
			return []Wait{v.kept(a)}
		}
		return []Wait{v.over()}
	case Terminated, Failed:
		return []Wait{v.over()}
	}
	list = v.operation(a, v.confirm(a, list))
	list = v.drain(a, v.silence(a, list))
	slices.SortStableFunc(list, func(x, y Wait) int { return x.Until.Compare(y.Until) })
	return list
}

// starting is the wait of a VM that is on its way.
func (v VM) starting(a Around) Wait {
	if !v.ActivatedAt.IsZero() {
		next, at := v.Trouble.next(v.Since, a.Now)
		return Wait{
			For: ForStart, Since: v.Since, Until: at, Why: cmp.Or(v.Trouble.Text, v.Reason, "it is started again"),
			Next: next + ", as often as need be; its disk and its money stay",
		}
	}
	w := Wait{For: ForLaunch, Since: v.Since, Until: v.Deadline, Why: cmp.Or(v.Trouble.Text, v.Reason, "its server prepares and boots it")}
	if v.State == New {
		w.Why = "waiting for its server to begin"
	}
	if a.Placings > 0 {
		w.Why += fmt.Sprintf("; %s could not launch it", count(a.Placings, "server", "servers"))
	}
	if v.Trouble.ahead(a.Now) {
		w.Next = v.Trouble.tries() + "; "
	}
	w.Next += "if it is not launched by then, "
	if a.Left == 0 {
		w.Next += "it is given up and the whole deposit goes back"
		return w
	}
	w.Next += fmt.Sprintf("it is placed on another server that fits, by the same deposit, %s at most; where none fits, the whole deposit goes back", count(a.Left, "time", "times"))
	return w
}

// repair adds the wait of a VM that runs, or should, and whose agent says that
// something is not as it was ordered.
func (v VM) repair(a Around, list []Wait) []Wait {
	if v.Trouble.Text == "" {
		return list
	}
	next, at := v.Trouble.next(v.Trouble.Since, a.Now)
	return append(list, Wait{For: ForRepair, Why: v.Trouble.Text, Since: v.Trouble.Since, Until: at, Next: next + ", as often as need be"})
}

func (v VM) short(a Around) Wait {
	return Wait{
		For: ForMoney, Since: v.Since, Until: v.NextBilling.Add(a.Grace), Why: fmt.Sprintf("the balance can't fill its reserve: %s USDC are missing for its next epoch", a.Missing),
		Next: "its reserve is filled as soon as the balance has that; if it hasn't by then, the VM is powered off, and its disk is kept",
	}
}

func (v VM) unpaid(a Around) Wait {
	return Wait{
		For: ForPayment, Since: v.Since, Until: v.Deadline, Why: fmt.Sprintf("powered off, as it is not paid: %s USDC are missing", a.Missing),
		Next: "it goes on by itself as soon as the balance has that; if it hasn't by then, the VM is ended and its disk purged",
	}
}

func (v VM) kept(a Around) Wait {
	until := v.KeptUntil
	if !a.DrainedAt.IsZero() && a.DrainedAt.Before(until) { // a server keeps nothing beyond its drain
		until = a.DrainedAt
	}
	return Wait{
		For: ForUndelete, Since: v.Since, Until: until, Why: "it was deleted, and its disk and address are kept",
		Next: "it can be undeleted; if it isn't by then, its disk is purged",
	}
}

func (v VM) over() Wait {
	w := Wait{For: Nothing, Since: v.Since, Why: cmp.Or(v.Reason, "it has ended"), Next: "nothing more is tried; delete it to remove its record, and deploy another one"}
	if v.Reserved > 0 {
		w.Next = fmt.Sprintf("nothing more is tried; delete it to get its reserve of %s USDC back, and deploy another one", v.Reserved)
	}
	return w
}

func (v VM) operation(a Around, list []Wait) []Wait {
	if a.Busy == nil {
		return list
	}
	o := a.Busy
	return append(list, Wait{
		For: ForOperation, Since: o.Begun, Until: o.Deadline, Why: fmt.Sprintf("%s goes on (%s)", o.Action, o.ID),
		Next: "it ends when its server has seen that it is done; if it hasn't by then, the operation has failed, and what was ordered stays ordered",
	})
}

func (v VM) confirm(a Around, list []Wait) []Wait {
	if v.RevertAt.IsZero() {
		return list
	}
	return append(list, Wait{
		For: ForConfirm, Since: cmp.Or(a.PortsSince, v.CreatedAt), Until: v.RevertAt, Why: "the change of its open ports is not confirmed",
		Next: "unless it is confirmed by then, the ports are changed back to what they were",
	})
}

func (v VM) silence(a Around, list []Wait) []Wait {
	if a.SilentSince.IsZero() {
		return list
	}
	return append(list, Wait{
		For: ForServer, Since: a.SilentSince, Until: NextReminder(a.SilentSince, a.Now), Why: "its server is not heard: the VM is as it was seen then, and runs on as far as is known",
		Next: "all goes on as soon as the server is heard; if it isn't by then you are told again. Its provider may give it up as lost: then the VM ends, and what was not delivered is returned",
	})
}

func (v VM) drain(a Around, list []Wait) []Wait {
	if a.DrainedAt.IsZero() {
		return list
	}
	return append(list, Wait{
		For: ForDrain, Since: cmp.Or(a.DrainedSince, v.CreatedAt), Until: a.DrainedAt, Why: "its provider empties its server",
		Next: "it is ended then with its disk, and what was not delivered of the epoch is returned; save what you need and deploy anew elsewhere before",
	})
}

// NextReminder returns when it is told next that a server is not heard since a moment.
func NextReminder(silent, now time.Time) time.Time { return after(silent, now, RemindEvery) }

// after returns the first of the moments behind begin, one every so often, that is
// behind now.
func after(begin, now time.Time, every time.Duration) time.Time {
	n := max(now.Sub(begin), 0)/every + 1
	return begin.Add(n * every)
}

// ahead reports whether the next try is known and still to come. A time that is too
// far away is none that an agent would tell.
func (r Retry) ahead(now time.Time) bool {
	return r.At.After(now) && !r.At.After(now.Add(2*LongestRetry))
}

// tries says when the next try is.
func (r Retry) tries() string {
	text := fmt.Sprintf("its server tries again at %s, after %s", r.At.UTC().Format(time.RFC3339), count(r.Attempt, "try", "tries"))
	if r.Of > 0 {
		text += fmt.Sprintf(" of %d", r.Of)
	}
	return text
}

// next says what an agent does next and when, for what is so since a moment. While it
// is at work, or has not told when, it is known to try again before long.
func (r Retry) next(since, now time.Time) (string, time.Time) {
	if r.ahead(now) {
		return r.tries(), r.At
	}
	return "its server is at work on it, and tries again when that fails", after(since, now, LongestRetry)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
