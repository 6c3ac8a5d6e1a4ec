package control

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/serial"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// ConsoleToken lets its holder sit before one console, once.
type ConsoleToken struct {
	VMID  string
	Token string // "" in a rehearsal
	Until time.Time
}

// OpenConsole returns a token for the console of the actor's VM. Returns NotFound for
// an unknown, foreign or deleted VM, Conflict for one that ended, Exhausted when
// too many are open, and Unavailable when the agent of its server isn't connected
// to this replica: on another one it may be.
func (s *Service) OpenConsole(ctx context.Context, who account.Actor, given string, wish ConsoleWish) (ConsoleToken, error) {
	seat, err := s.seatBefore(ctx, who, given, wish)
	if err != nil {
		return ConsoleToken{}, err
	}
	out := ConsoleToken{VMID: seat.vmID, Until: s.Now().Add(ticketFor).UTC()}
	if store.Rehearsing(ctx) {
		return out, nil
	}
	name, err := s.newID("seat")
	if err != nil {
		return ConsoleToken{}, err
	}
	secret, err := id.NewSecret("console", 20, s.Rand)
	if err != nil {
		return ConsoleToken{}, err
	}
	out.Token, err = s.consoles.reserve(seat, name, secret, s.Now())
	return out, err
}

// seatBefore returns a seat before the console of the actor's VM, whose agent is there.
func (s *Service) seatBefore(ctx context.Context, who account.Actor, given string, wish ConsoleWish) (Seat, error) {
	var v vm.VM
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		v, err = s.owned(ctx, tx, who, given)
		return err
	})
	switch {
	case err != nil:
		return Seat{}, err
	case v.State == vm.Stopped:
		return Seat{}, noVM(v.ID)
	case v.State.Ended() || v.Gone || v.ServerID == "":
		return Seat{}, fault.Newf(fault.Conflict, "the VM is %s and has no console any more", v.State)
	case !s.hears(ctx, v.ServerID):
		return Seat{}, fault.New(fault.Unavailable,
			"the server of the VM is not connected here; try again in a moment, on a new connection. GET /v1/vms/{id} tells whether it can be reached at all")
	}
	return Seat{ConsoleWish: wish, who: who, vmID: v.ID, serverID: v.ServerID}, nil
}

// hears reports whether the agent of a server asks this replica for news, now or
// within the time between two polls.
func (s *Service) hears(ctx context.Context, serverID string) bool {
	arrived, cancel := s.consoles.arrived.listen(serverID)
	defer cancel()
	limit := time.NewTimer(arrives)
	defer limit.Stop()
	for !s.bells.awaited("server:" + serverID) {
		select {
		case <-arrived:
			return true // its poll may be over already, and the next one comes
		case <-limit.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// EnterConsole uses up a token. Returns a Denied fault for one that is not good for
// this VM's console, or not any more, and Unavailable for one of another replica.
func (s *Service) EnterConsole(vmID, token string) (Seat, error) {
	vmID, err := id.ParseVM(vmID)
	if err != nil {
		return Seat{}, err
	}
	return s.consoles.redeem(token, vmID, s.Now())
}

// ConsoleLog returns the end of what the actor's VM wrote to its console, at most
// serial.Kept bytes: the guest's own word. Returns the faults of OpenConsole.
func (s *Service) ConsoleLog(ctx context.Context, who account.Actor, given string) ([]byte, error) {
	seat, err := s.seatBefore(ctx, who, given, ConsoleWish{})
	if err != nil {
		return nil, err
	}
	free, err := s.consoles.take(who.AccountID)
	if err != nil {
		return nil, err
	}
	defer free()
	ctx, cancel := context.WithTimeout(ctx, logIn)
	defer cancel()
	agent, err := s.callAgent(ctx, seat, true)
	if err != nil {
		return nil, err
	}
	defer agent.Close(ctx, serial.Note{})
	var text []byte
	for {
		f, err := agent.Receive(ctx)
		switch {
		case err != nil:
			return nil, errors.Join(errCutOff, err)
		case f.Note != nil && f.Note.Failed:
			return nil, fault.Newf(fault.Conflict, "the console's log can't be read: %.500s", f.Note.Text)
		case f.Note != nil && f.Note.End:
			return text, nil
		}
		if text = append(text, f.Data...); len(text) > serial.Kept {
			return nil, fault.New(fault.Internal, "the agent sends more of a console's log than is kept")
		}
	}
}

const logIn = 30 * time.Second // that a log takes at most

var errCutOff = fault.New(fault.Unavailable, "the connection to the VM's server was lost; try again")

// callAgent has the agent of a seat's server connect to it, and returns its end of the
// line. Returns an Unavailable fault when it doesn't.
func (s *Service) callAgent(ctx context.Context, seat Seat, log bool) (*heldLine, error) {
	session, err := id.NewSecret("call", 20, s.Rand)
	if err != nil {
		return nil, err
	}
	answered, end := s.consoles.place(vm.Call{Session: session, VM: seat.vmID, Log: log, ReadOnly: seat.ReadOnly, Take: seat.Take}, seat.serverID)
	defer end()
	limit, again := time.NewTimer(answerIn), time.NewTicker(callAgain)
	defer limit.Stop()
	defer again.Stop()
	for {
		s.bells.ring("server:" + seat.serverID)
		select {
		case line := <-answered:
			if line == nil {
				return nil, errCutOff
			}
			return line, nil
		case <-again.C:
		case <-limit.C:
			return nil, fault.Newf(fault.Unavailable, "the VM's server did not connect its console within %s; try again", answerIn)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ConsoleCalls returns the consoles that the agent of a server should connect.
func (s *Service) ConsoleCalls(serverID string) []vm.Call {
	return s.consoles.open(serverID, s.Now())
}

// AnswerConsole takes a call for the agent of a server. Its line, or nil when it has none
// after all, is given to connect, which returns when it is of no more use. Returns
// a NotFound fault for a call that nobody makes here (any more).
func (s *Service) AnswerConsole(serverID, session string) (connect func(ctx context.Context, line serial.Line), err error) {
	c, err := s.consoles.answer(serverID, session)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, line serial.Line) {
		var held *heldLine
		if line != nil {
			held = &heldLine{Line: line, closed: make(chan struct{})}
		}
		select {
		case c.answered <- held:
		case <-c.over: // who waited went away meanwhile
			held.Close(ctx, serial.Note{})
			return
		}
		if held == nil {
			return
		}
		select {
		case <-held.closed:
		case <-ctx.Done():
		}
	}, nil
}

// heldLine is a line that tells when it is closed.
type heldLine struct {
	serial.Line
	closed chan struct{}
	once   sync.Once
}

// Close closes the line. It may be called of nil.
func (l *heldLine) Close(ctx context.Context, last serial.Note) {
	if l == nil {
		return
	}
	l.once.Do(func() {
		l.Line.Close(ctx, last)
		close(l.closed)
	})
}
