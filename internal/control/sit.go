package control

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/serial"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	// ConsoleIdle is how long a console may be silent from both sides.
	ConsoleIdle = 30 * time.Minute
	// ConsoleLongest is how long anyone sits before a console at most.
	ConsoleLongest = 8 * time.Hour

	lookAgain = 5 * time.Second // whether who sits there may do so still
	blind     = 12              // looks that may fail for want of the store
	typing    = 64 << 10        // bytes that may be typed in a second: a paste, and no more
)

// Sit connects who sits there, at the other end of customer, with the console of the
// seat's VM, until one of both ends it, the VM or the key is no longer good, or time
// is up. It closes customer with a note that says which it was.
func (s *Service) Sit(ctx context.Context, seat Seat, customer serial.Line) {
	free, err := s.consoles.take(seat.who.AccountID)
	if err != nil {
		customer.Close(ctx, serial.Note{Text: fault.Message(err), Failed: true})
		return
	}
	defer free()
	agent, err := s.callAgent(ctx, seat, false)
	if err != nil {
		customer.Close(ctx, serial.Note{Text: fault.Message(err), Failed: true})
		return
	}
	s.Log.InfoContext(ctx, "console opened", "vm_id", seat.vmID, "account_id", seat.who.AccountID, "key_id", seat.who.KeyID)
	why := s.connect(ctx, seat, customer, agent)
	s.Log.InfoContext(ctx, "console closed", "vm_id", seat.vmID, "account_id", seat.who.AccountID, "key_id", seat.who.KeyID, "reason", why.Text)
}

// connect carries what is sent from each end to the other, and returns why it ended.
func (s *Service) connect(ctx context.Context, seat Seat, customer, agent serial.Line) serial.Note {
	listening, stop := context.WithCancel(ctx)
	ended, lively := make(chan serial.Note, 2), make(chan struct{}, 1)
	done := make(chan struct{}, 2)
	go func() {
		ended <- carry(listening, agent, customer, nil, lively, errCutOff)
		done <- struct{}{}
	}()
	go func() {
		pace := serial.Pace{Bytes: typing, Per: time.Second}
		ended <- carry(listening, customer, agent, &pace, lively, nil)
		done <- struct{}{}
	}()
	why := s.oversee(ctx, seat, ended, lively)
	customer.Close(ctx, why)
	agent.Close(ctx, serial.Note{})
	stop()
	<-done
	<-done
	return why
}

// carry sends on what comes until one of the ends does no more. lost is what is said
// then of the end that it comes from, nil for one who may go as he pleases.
func carry(ctx context.Context, from, to serial.Line, pace *serial.Pace, lively chan<- struct{}, lost error) serial.Note {
	for {
		f, err := from.Receive(ctx)
		switch {
		case err != nil && lost != nil:
			return serial.Note{Text: fault.Message(lost), Failed: true}
		case err != nil:
			return serial.Note{}
		case f.Note != nil && f.Note.End:
			return *f.Note
		case len(f.Data) > 0:
			select {
			case lively <- struct{}{}:
			default:
			}
		}
		if pace != nil && !pace.Pass(ctx.Done(), len(f.Data)) {
			return serial.Note{}
		}
		if err := to.Send(ctx, f); err != nil {
			return serial.Note{Text: "the connection was too slow for the console and was cut; connect again", Failed: true}
		}
	}
}

// oversee returns why a console ends, once it does.
func (s *Service) oversee(ctx context.Context, seat Seat, ended <-chan serial.Note, lively <-chan struct{}) serial.Note {
	ofVM, cancelVM := s.bells.listen("vm:" + seat.vmID)
	defer cancelVM()
	ofKey, cancelKey := s.bells.listen("key:" + seat.who.KeyID)
	defer cancelKey()
	idle, longest, look := time.NewTimer(ConsoleIdle), time.NewTimer(ConsoleLongest), time.NewTicker(lookAgain)
	defer idle.Stop()
	defer longest.Stop()
	defer look.Stop()
	for failed := 0; ; {
		select {
		case why := <-ended:
			return why
		case <-lively:
			idle.Reset(ConsoleIdle)
			continue
		case <-idle.C:
			return serial.Note{Text: fmt.Sprintf("closed: nothing was written or typed for %s", ConsoleIdle)}
		case <-longest.C:
			return serial.Note{Text: fmt.Sprintf("closed after %s, the longest that a console stays open; connect again", ConsoleLongest)}
		case <-ctx.Done():
			return serial.Note{Text: "closed: the control plane stops; connect again in a moment"}
		case <-ofVM:
		case <-ofKey:
		case <-look.C:
		}
		why, err := s.mayStay(ctx, seat)
		if err == nil {
			failed = 0
		} else if failed++; failed >= blind {
			why = "closed: whether you may still sit here can't be told now; connect again later"
		}
		if why != "" {
			return serial.Note{Text: why, Failed: true}
		}
	}
}

// mayStay returns why who sits there may do so no longer, "" when he may.
func (s *Service) mayStay(ctx context.Context, seat Seat) (why string, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		key, err := tx.Key(ctx, seat.who.AccountID, seat.who.KeyID)
		if fault.Is(err, fault.NotFound) || err == nil && !key.RevokedAt.IsZero() {
			why = "closed: the API key was revoked"
			return nil
		}
		if err != nil {
			return err
		}
		v, err := tx.VM(ctx, seat.vmID)
		switch {
		case fault.Is(err, fault.NotFound) || err == nil && v.AccountID != seat.who.AccountID:
			why = "closed: the VM is gone"
			return nil
		case err != nil:
			return err
		case v.State == vm.Stopped:
			why = "closed: the VM was deleted"
		case v.State.Ended() || v.Gone:
			why = fmt.Sprintf("closed: the VM is %s", v.State)
		case v.ServerID != seat.serverID:
			why = "closed: the VM is on another server now; connect again"
		}
		return nil
	})
	return why, err
}
