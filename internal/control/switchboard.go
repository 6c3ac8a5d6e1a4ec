package control

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	ticketFor   = time.Minute     // how long a token for a console is good
	arrives     = time.Second     // how long an agent may be between two polls
	callAgain   = 3 * time.Second // a call that got lost on its way is made again
	answerIn    = 15 * time.Second
	maxSeats    = 32   // consoles of one account at once, tokens and logs among them
	maxAllSeats = 1000 // of all accounts on this replica
)

// ConsoleWish says how a console is wanted.
type ConsoleWish struct {
	ReadOnly bool // only to watch
	Take     bool // to write in the place of who does
}

// Seat is one place before the console of a VM.
type Seat struct {
	ConsoleWish
	who      account.Actor
	vmID     string
	serverID string
}

// ticket is a token that was given out for a seat.
type ticket struct {
	seat   Seat
	secret [sha256.Size]byte // its hash
	until  time.Time
}

// call is a seat that waits for an agent.
type call struct {
	vm.Call
	serverID string
	told     time.Time
	answered chan *heldLine // nil in it when the agent hung up at once
	over     chan struct{}  // closed when nobody waits any more
	taken    bool
}

// switchboard connects seats with agents, on one replica of the control plane: it
// is all in memory, as the connections are.
type switchboard struct {
	name string // tells this replica's tokens from those of others

	mu      sync.Mutex
	tickets map[string]ticket
	calls   map[string]*call
	seats   map[string]int // that are taken, by account
	taken   int

	arrived bells // rung with a server whose agent asks for news
}

func newSwitchboard(name string) *switchboard {
	return &switchboard{name: name, tickets: map[string]ticket{}, calls: map[string]*call{}, seats: map[string]int{}}
}

// reserve keeps a seat until then and returns its token: the replica, a name and a secret.
func (b *switchboard) reserve(seat Seat, name, secret string, now time.Time) (token string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := b.seats[seat.who.AccountID]
	for name, t := range b.tickets {
		switch {
		case !now.Before(t.until):
			delete(b.tickets, name)
		case t.seat.who.AccountID == seat.who.AccountID:
			held++
		}
	}
	if held >= maxSeats {
		return "", tooManySeats()
	}
	b.tickets[name] = ticket{seat, sha256.Sum256([]byte(secret)), now.Add(ticketFor)}
	return strings.Join([]string{b.name, name, secret}, "."), nil
}

func tooManySeats() error {
	return fault.Newf(fault.Exhausted, "an account sits before at most %d consoles at once, tokens of the last minute among them; end one, or wait", maxSeats)
}

// redeem uses up a token. Returns a Denied fault for one that is none, was used or is
// over, Unavailable for one of another replica: there it is good still.
func (b *switchboard) redeem(token, vmID string, now time.Time) (Seat, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Seat{}, errTicket
	}
	if parts[0] != b.name {
		return Seat{}, fault.New(fault.Unavailable, "this token was made by another part of the control plane; try again with the same, on a new connection")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t, known := b.tickets[parts[1]]
	secret := sha256.Sum256([]byte(parts[2]))
	right := subtle.ConstantTimeCompare(t.secret[:], secret[:]) == 1
	if !known || !right || t.seat.vmID != vmID {
		return Seat{}, errTicket
	}
	delete(b.tickets, parts[1])
	if !now.Before(t.until) {
		return Seat{}, errTicket
	}
	return t.seat, nil
}

var errTicket = fault.New(fault.Denied, "the console's token is unknown, was used, or is over; make another one with POST /v1/vms/{id}/console")

// take counts a seat that is taken until free is called.
func (b *switchboard) take(accountID string) (free func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seats[accountID] >= maxSeats {
		return nil, tooManySeats()
	}
	if b.taken >= maxAllSeats {
		return nil, fault.New(fault.Unavailable, "too many consoles are open; try again later")
	}
	b.seats[accountID]++
	b.taken++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.taken--
		if b.seats[accountID]--; b.seats[accountID] == 0 {
			delete(b.seats, accountID)
		}
	}, nil
}

// ConsolesOpen returns how many tokens for consoles are good here, and how many
// consoles and logs are open.
func (s *Service) ConsolesOpen() (tokens, open int) {
	s.consoles.mu.Lock()
	defer s.consoles.mu.Unlock()
	return len(s.consoles.tickets), s.consoles.taken
}

// place makes a call, which is over when end is called.
func (b *switchboard) place(c vm.Call, serverID string) (answered <-chan *heldLine, end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	placed := &call{Call: c, serverID: serverID, answered: make(chan *heldLine), over: make(chan struct{})}
	b.calls[c.Session] = placed
	return placed.answered, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.calls, c.Session)
		close(placed.over)
	}
}

// open returns the calls for a server that its agent wasn't told of, or a while ago.
func (b *switchboard) open(serverID string, now time.Time) []vm.Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []vm.Call
	for _, c := range b.calls {
		if c.serverID == serverID && !c.taken && (c.told.IsZero() || now.Sub(c.told) >= callAgain) {
			c.told = now
			list = append(list, c.Call)
		}
	}
	slices.SortFunc(list, func(a, c vm.Call) int { return strings.Compare(a.Session, c.Session) })
	return list
}

// answer takes a call for the agent of a server. Returns a NotFound fault for one that
// nobody makes (any more), that is another server's or that was taken.
func (b *switchboard) answer(serverID, session string) (*call, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.calls[session]
	if c == nil || c.serverID != serverID || c.taken {
		return nil, fault.New(fault.NotFound, "nobody waits for this console here")
	}
	c.taken = true
	return c, nil
}
