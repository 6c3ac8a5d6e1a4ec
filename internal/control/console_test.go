package control_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/serial"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

// line is one end of a console in memory. Who is at the other end speaks through in
// and out.
type line struct {
	in, out chan serial.Frame
	closed  chan struct{}
	once    sync.Once
	last    serial.Note // once it is closed
}

func newLine() *line {
	return &line{in: make(chan serial.Frame), out: make(chan serial.Frame), closed: make(chan struct{})}
}

var errHungUp = errors.New("hung up")

func (l *line) Receive(ctx context.Context) (serial.Frame, error) {
	select {
	case f := <-l.in:
		return f, nil
	case <-l.closed:
	case <-ctx.Done():
	}
	return serial.Frame{}, errHungUp
}

func (l *line) Send(ctx context.Context, f serial.Frame) error {
	select {
	case l.out <- f:
		return nil
	case <-time.After(20 * time.Second):
	case <-l.closed:
	case <-ctx.Done():
	}
	return errHungUp
}

func (l *line) Close(_ context.Context, last serial.Note) {
	l.once.Do(func() {
		l.last = last
		close(l.closed)
	})
}

// sitting is a customer who sits before the console of a VM.
type sitting struct {
	*cloud
	who             account.Actor
	vmID            string
	agent           *agent
	customer, guest *line
}

// sit has a customer sit down, with a key of her own, in a world whose clock runs by itself.
func sit(t *testing.T, do func(t *testing.T, s *sitting)) {
	t.Helper()
	dir := storetest.SQLite().URL(t)
	synctest.Test(t, func(t *testing.T) {
		db, err := store.Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close() //nolint:errcheck // of a test
		c := newCloud(t, db)
		s := &sitting{cloud: c, agent: c.join(room(2)), customer: newLine(), guest: newLine()}
		anna := c.account("Anna", 4*price)
		s.vmID, s.who = c.deploy(anna), c.key(anna, account.Limits{})
		_, hangUp := c.Changes(s.agent.id)
		defer hangUp()
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		seat, err := c.EnterConsole(s.vmID, s.token(control.ConsoleWish{}))
		c.must("EnterConsole", err)
		go c.Sit(ctx, seat, s.customer)
		synctest.Wait()
		if calls := c.ConsoleCalls(s.agent.id); len(calls) == 1 {
			connect, err := c.AnswerConsole(s.agent.id, calls[0].Session)
			c.must("AnswerConsole", err)
			go connect(ctx, s.guest)
		} else {
			t.Fatalf("calls %+v, want one", calls)
		}
		synctest.Wait()
		do(t, s)
	})
}

func (s *sitting) token(wish control.ConsoleWish) string {
	s.t.Helper()
	token, err := s.OpenConsole(s.t.Context(), s.who, s.vmID, wish)
	s.must("OpenConsole", err)
	return token.Token
}

// ends returns what is said at the end and how long that takes from now.
func (s *sitting) ends(words string) (took time.Duration) {
	s.t.Helper()
	begun := time.Now()
	<-s.customer.closed
	<-s.guest.closed // as well
	if !strings.Contains(s.customer.last.Text, words) {
		s.t.Errorf("it ended with %q, want %q", s.customer.last.Text, words)
	}
	return time.Since(begun)
}

func (s *sitting) types(text string) {
	s.customer.in <- serial.Frame{Data: []byte(text)}
	<-s.guest.out
}

func TestConsoleEnds(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(t *testing.T, s *sitting){
		"idle": func(t *testing.T, s *sitting) {
			time.Sleep(control.ConsoleIdle - time.Second)
			s.types("x")
			time.Sleep(control.ConsoleIdle - time.Second)
			s.guest.in <- serial.Frame{Data: []byte("y")}
			<-s.customer.out
			want(t, "time", s.ends("nothing was written or typed"), control.ConsoleIdle)
		},
		"longest": func(t *testing.T, s *sitting) {
			begun := time.Now()
			for time.Since(begun) < control.ConsoleLongest-time.Minute {
				time.Sleep(time.Minute)
				s.types("x")
			}
			want(t, "time", s.ends("closed after 8h"), time.Minute)
		},
		"key revoked here": func(t *testing.T, s *sitting) {
			s.must("RevokeKey", s.RevokeKey(t.Context(), account.Actor{AccountID: s.who.AccountID}, s.who.KeyID))
			want(t, "time", s.ends("key was revoked"), time.Duration(0))
		},
		"key revoked elsewhere": func(t *testing.T, s *sitting) {
			s.must("revoke", s.db.Write(t.Context(), func(tx *store.Tx) error { return tx.RevokeKey(t.Context(), s.who.KeyID, start) }))
			if took := s.ends("key was revoked"); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		},
		"deleted": func(t *testing.T, s *sitting) {
			s.remove(s.who, s.vmID)
			want(t, "time", s.ends("deleted"), time.Duration(0))
		},
		"customer leaves": func(t *testing.T, s *sitting) {
			s.customer.Close(t.Context(), serial.Note{Text: "bye"})
			want(t, "time", s.ends("bye"), time.Duration(0))
		},
		"agent is lost": func(t *testing.T, s *sitting) {
			s.guest.Close(t.Context(), serial.Note{})
			want(t, "time", s.ends("connection to the VM's server was lost"), time.Duration(0))
		},
		"machine ends": func(t *testing.T, s *sitting) {
			s.guest.in <- serial.Frame{Note: &serial.Note{Text: "switched off", End: true, Failed: true}}
			want(t, "time", s.ends("switched off"), time.Duration(0))
		},
		"customer takes nothing": func(t *testing.T, s *sitting) {
			s.guest.in <- serial.Frame{Data: []byte("flood")}
			want(t, "time", s.ends("too slow"), 20*time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sit(t, do)
		})
	}
}

// What is typed passes at a bounded rate, so that nobody stuffs an agent.
func TestTypingIsBounded(t *testing.T) {
	t.Parallel()
	sit(t, func(t *testing.T, s *sitting) {
		begun := time.Now()
		for range 64 { // 2 MiB
			s.types(strings.Repeat("x", serial.MaxFrame))
		}
		if took := time.Since(begun); took < 30*time.Second {
			t.Errorf("2 MiB were typed within %s", took)
		}
	})
}

func TestConsoleToken(t *testing.T) {
	t.Parallel()
	sit(t, func(t *testing.T, s *sitting) {
		other, used := s.deploy(s.who), s.token(control.ConsoleWish{})
		_, err := s.EnterConsole(s.vmID, used)
		s.must("the first time", err)
		if _, err := s.EnterConsole(s.vmID, used); !fault.Is(err, fault.Denied) {
			t.Errorf("the second time: %v, want a Denied fault", err)
		}
		late := s.token(control.ConsoleWish{})
		s.clock.advance(time.Minute)
		if _, err := s.EnterConsole(s.vmID, late); !fault.Is(err, fault.Denied) {
			t.Errorf("after a minute: %v, want a Denied fault", err)
		}
		good := s.token(control.ConsoleWish{})
		for name, token := range map[string]string{
			"none": "", "cut off": good[:len(good)-1], "long": good + "x",
			"no secret": good[:strings.LastIndex(good, ".")+1], "without a name": strings.Split(good, ".")[0] + "..",
		} {
			if _, err := s.EnterConsole(s.vmID, token); !fault.Is(err, fault.Denied) {
				t.Errorf("a token that is %s: %v, want a Denied fault", name, err)
			}
		}
		if _, err := s.EnterConsole(other, good); !fault.Is(err, fault.Denied) {
			t.Errorf("a token for another VM: %v, want a Denied fault", err)
		}
		if _, err := s.EnterConsole(s.vmID, "con_elsewhere."+strings.SplitN(good, ".", 2)[1]); !fault.Is(err, fault.Unavailable) {
			t.Errorf("a token of another replica: %v, want an Unavailable fault", err)
		}
		if _, err := s.EnterConsole(s.vmID, good); err != nil {
			t.Errorf("a good one: %v", err)
		}
	})
}

func TestConsoleIsRefused(t *testing.T) {
	t.Parallel()
	sit(t, func(t *testing.T, s *sitting) {
		ben, far := s.account("Ben", 4*price), s.join(room(2))
		refused := func(what string, kind fault.Kind, who account.Actor, id string) {
			t.Helper()
			if _, err := s.OpenConsole(t.Context(), who, id, control.ConsoleWish{}); !fault.Is(err, kind) {
				t.Errorf("%s: %v, want %s", what, err, kind)
			}
			if _, err := s.ConsoleLog(t.Context(), who, id); !fault.Is(err, kind) {
				t.Errorf("log, %s: %v, want %s", what, err, kind)
			}
		}
		refused("a foreign VM", fault.NotFound, ben, s.vmID)
		refused("no VM", fault.NotFound, ben, "0x0000000000000000000000000000000000000001")

		// The call is one agent's, once.
		_, err := s.AnswerConsole(s.agent.id, "call_guessed")
		want(t, "a guessed call", fault.KindOf(err), fault.NotFound)
		seat, err := s.EnterConsole(s.vmID, s.token(control.ConsoleWish{Take: true}))
		s.must("EnterConsole", err)
		alone := newLine()
		go s.Sit(t.Context(), seat, alone)
		synctest.Wait()
		call := s.ConsoleCalls(s.agent.id)[0]
		want(t, "the wish", call.Take && !call.ReadOnly && !call.Log, true)
		want(t, "told again at once", len(s.ConsoleCalls(s.agent.id)), 0)
		_, err = s.AnswerConsole(far.id, call.Session)
		want(t, "another server's call", fault.KindOf(err), fault.NotFound)
		<-alone.closed
		if !strings.Contains(alone.last.Text, "did not connect") {
			t.Errorf("where no agent comes it ended with %q", alone.last.Text)
		}

		for range 31 { // with the one that sits there
			s.token(control.ConsoleWish{})
		}
		_, err = s.OpenConsole(t.Context(), s.who, s.vmID, control.ConsoleWish{})
		want(t, "one too many", fault.KindOf(err), fault.Exhausted)
		s.clock.advance(time.Minute)
		s.token(control.ConsoleWish{})

		s.remove(s.who, s.vmID)
		refused("a deleted VM", fault.NotFound, s.who, s.vmID)
	})
}

// A server whose agent asks elsewhere, or not at all, is said not to be here.
func TestConsoleOfAServerThatIsAway(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(2))
		anna := c.account("Anna", 4*price)
		_, err := c.OpenConsole(t.Context(), anna, c.deploy(anna), control.ConsoleWish{})
		want(t, "without an agent", fault.KindOf(err), fault.Unavailable)
	})
}
