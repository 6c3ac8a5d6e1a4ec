package control

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	// operationTime is how long an operation may take: a guest may take a minute to
	// power off, and ten to answer. fetchingTime is that of one for which an image is
	// fetched before, as for a launch.
	operationTime = 15 * time.Minute
	fetchingTime  = 30 * time.Minute
	// copyingTime is that of a snapshot, which is as large as its disk.
	copyingTime = 6 * time.Hour
	// MaxOperations is how many operations of a VM are told, the newest.
	MaxOperations = 100
)

// Amendment is what an action changes of what is wanted of a VM. The VM's generation is
// raised already: what is wanted from now on is of this one. A fault of it refuses
// the action, and nothing has begun.
type Amendment func(ctx context.Context, tx *store.Tx, v *vm.VM) error

// Restart has the VM's machine started anew; abrupt does not ask its guest.
func Restart(abrupt bool) Amendment {
	return func(_ context.Context, _ *store.Tx, v *vm.VM) error {
		v.Restart, v.Abrupt = v.Generation, abrupt
		return nil
	}
}

// Operate begins an action of the actor's VM that takes its time: change is made of
// what is wanted of the VM. A request with an id may be sent again: it is answered
// with what it began. Returns NotFound for an unknown, foreign or deleted VM, Conflict
// when the VM refuses the action now, or when the request's id was used for another
// one, and the faults of change.
func (s *Service) Operate(ctx context.Context, who account.Actor, given string, a vm.Action, requestID string, change Amendment) (vm.Operation, error) {
	if err := checkRequestID(requestID); err != nil {
		return vm.Operation{}, err
	}
	var o vm.Operation
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		v, err := s.owned(ctx, tx, who, given)
		if err != nil {
			return err
		}
		o, err = tx.OperationOf(ctx, who.AccountID, requestID)
		switch {
		case err == nil && (o.VMID != v.ID || o.Action != a):
			return fault.Newf(fault.Conflict, "the request %q was used to %s VM %s; give this one another id", requestID, o.Action, o.VMID)
		case err == nil || !fault.Is(err, fault.NotFound):
			return err
		}
		if v.State == vm.Stopped && a != vm.Undelete {
			return noVM(v.ID)
		}
		busy, err := s.goingOn(ctx, tx, v)
		if err != nil {
			return err
		}
		if err := v.Refuses(a, busy); err != nil {
			return err
		}
		if o, err = s.begin(ctx, tx, v, a, requestID, change); err != nil {
			return err
		}
		rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
		return nil
	})
	if err != nil {
		return vm.Operation{}, err
	}
	s.ring(ctx, rung...)
	return o, nil
}

// goingOn returns the operation of v that goes on, nil for none.
func (s *Service) goingOn(ctx context.Context, tx *store.Tx, v vm.VM) (*vm.Operation, error) {
	if v.Operation == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	o, err := tx.Operation(ctx, v.Operation)
	return &o, err
}

// begin stores that an action of v goes on, and what is wanted of v for it.
func (s *Service) begin(ctx context.Context, tx *store.Tx, v vm.VM, a vm.Action, requestID string, change Amendment) (vm.Operation, error) {
	now := s.Now().UTC()
	opID, err := id.New("op", now, s.Rand)
	if err != nil {
		return vm.Operation{}, err
	}
	v.Generation++
	v.Operation = opID
	if err := change(ctx, tx, &v); err != nil {
		return vm.Operation{}, err
	}
	o := vm.Operation{
		ID: opID, VMID: v.ID, AccountID: v.AccountID, RequestID: requestID, Action: a, Generation: v.Generation,
		Begun: now, Deadline: now.Add(timeFor(a)), Result: a.About(v),
	}
	return o, firstErrorOf(
		func() error { return tx.InsertOperation(ctx, o) },
		func() error { return tx.UpdateVM(ctx, v) },
		func() error { return tx.Revise(ctx, v.ServerID) },
		func() error { return tx.PutEvent(ctx, v.ID, s.happened(string(a), now, string(a)+" asked for")) },
	)
}

// timeFor returns how long an action may take.
func timeFor(a vm.Action) time.Duration {
	if a == vm.TakeSnapshot {
		return copyingTime
	}
	if a == vm.Reinstall || a == vm.Rescue || a == vm.Restore {
		return fetchingTime
	}
	return operationTime
}

// fulfil notes how far the operation of v is that goes on, and ends it if what its agent
// sees is what it was for. It reports whether anything changed.
func (s *Service) fulfil(ctx context.Context, tx *store.Tx, v *vm.VM, seen vm.Sighting) (bool, error) {
	o, err := s.goingOn(ctx, tx, *v)
	if err != nil || o == nil {
		return false, err
	}
	if why := o.Foiled(seen); why != "" {
		return true, s.conclude(ctx, tx, v, *o, printable(why))
	}
	if o.Fulfilled(*v, seen) {
		return true, s.conclude(ctx, tx, v, *o, "")
	}
	step, done := o.Step, min(max(seen.Done, 0), 100)
	if n := len(seen.Steps); n > 0 && seen.Steps[n-1].At.After(o.Begun) {
		step = printable(seen.Steps[n-1].Text)
	}
	if step == o.Step && done == o.Done {
		return false, nil
	}
	o.Step, o.Done = step, done
	return true, tx.AdvanceOperation(ctx, *o)
}

// conclude ends an operation of v; failure is why it failed, "" if it didn't.
// The caller stores v.
func (s *Service) conclude(ctx context.Context, tx *store.Tx, v *vm.VM, o vm.Operation, failure string) error {
	now := s.Now().UTC()
	text := fmt.Sprintf("%s done after %s", o.Action, now.Sub(o.Begun).Round(100*time.Millisecond))
	if failure != "" {
		text = fmt.Sprintf("%s failed: %s", o.Action, failure)
	}
	v.Operation = ""
	o.Ended, o.Error = now, failure
	if failure == "" {
		o.Step, o.Done = "", 100
	}
	return firstErrorOf(
		func() error { return tx.AdvanceOperation(ctx, o) },
		func() error { return tx.PutEvent(ctx, v.ID, s.happened(string(o.Action)+"-ended", now, text)) },
	)
}

// EndOperations gives up the operations whose time is over, or whose VM ended or was
// powered off meanwhile, and returns how many there were. What was ordered stays
// ordered: a VM that answers later has done what it was asked for.
func (s *Service) EndOperations(ctx context.Context) (ended int, err error) {
	for {
		var list []vm.Operation
		if err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
			list, err = tx.HopelessOperations(ctx, s.Now(), sweepBatch)
			return err
		}); err != nil || len(list) == 0 {
			return ended, err
		}
		for _, o := range list {
			if err := s.endOperation(ctx, o.ID); err != nil {
				return ended, err
			}
			ended++
		}
	}
}

func (s *Service) endOperation(ctx context.Context, opID string) error {
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		o, err := tx.Operation(ctx, opID)
		if err != nil || !o.Ended.IsZero() {
			return err // it ended in the meantime
		}
		v, err := tx.VM(ctx, o.VMID)
		if err != nil {
			return err
		}
		rung = []string{"vm:" + v.ID}
		err = firstErrorOf(
			func() error { return s.conclude(ctx, tx, &v, o, whyHopeless(v, o)) },
			func() error { return s.spoil(ctx, tx, &v, o) },
		)
		if err != nil {
			return err
		}
		return tx.UpdateVM(ctx, v)
	})
	if err == nil {
		s.ring(ctx, rung...)
	}
	return err
}

// whyHopeless says to a customer why an operation is given up, and what to do.
func whyHopeless(v vm.VM, o vm.Operation) string {
	switch {
	case v.State.Ended():
		return fmt.Sprintf("the VM is %s", v.State)
	case v.State == vm.InsufficientFunds:
		return "the VM was powered off for want of money"
	case v.Reason != "":
		return fmt.Sprintf("not done within %s: %s", o.Deadline.Sub(o.Begun), v.Reason)
	case v.Reached < o.Generation:
		return fmt.Sprintf("its server did not do it within %s; it does so as soon as it can", o.Deadline.Sub(o.Begun))
	}
	return fmt.Sprintf("the VM did not answer within %s; reset starts it anew without asking its guest", o.Deadline.Sub(o.Begun))
}

// Operation returns one of the actor's operations, or a NotFound fault.
func (s *Service) Operation(ctx context.Context, who account.Actor, opID string) (o vm.Operation, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		o, err = tx.Operation(ctx, opID)
		return err
	})
	if fault.Is(err, fault.NotFound) || err == nil && o.AccountID != who.AccountID {
		return vm.Operation{}, fault.Newf(fault.NotFound, "no operation with id %.40q", opID)
	}
	return o, err
}

// WaitOperation returns one of the actor's operations as soon as it has ended,
// timeout receives or ctx is done, whichever is first.
func (s *Service) WaitOperation(ctx context.Context, who account.Actor, opID string, timeout <-chan time.Time) (vm.Operation, error) {
	o, err := s.Operation(ctx, who, opID)
	if err != nil {
		return o, err
	}
	changed, cancel := s.bells.listen("vm:" + o.VMID)
	defer cancel()
	for {
		o, err := s.Operation(ctx, who, opID)
		if err != nil || o.Outcome() != vm.Going {
			return o, err
		}
		select {
		case <-changed:
		case <-timeout:
			return o, nil
		case <-ctx.Done():
			return o, nil
		}
	}
}

// Operations returns the newest operations of the actor's VM, newest first.
// Returns NotFound for an unknown or foreign VM.
func (s *Service) Operations(ctx context.Context, who account.Actor, given string) (list []vm.Operation, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		v, err := s.owned(ctx, tx, who, given)
		if err != nil {
			return err
		}
		list, err = tx.Operations(ctx, v.ID, MaxOperations)
		return err
	})
	return list, err
}
