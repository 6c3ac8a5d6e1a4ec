package wire_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/serial"
	"github.com/cpucloud/cpucloud/internal/vm"
	"github.com/cpucloud/cpucloud/internal/wire"
)

// waiting is one who waits for the console of a session.
type waiting struct {
	calls   chan vm.Call // that the agent was not told of
	session string
	sit     func(ctx context.Context, line serial.Line)
}

func (w *waiting) ConsoleCalls(string) []vm.Call {
	select {
	case c := <-w.calls:
		return []vm.Call{c}
	default:
		return nil
	}
}

func (w *waiting) AnswerConsole(serverID, session string) (func(context.Context, serial.Line), error) {
	if serverID != "srv_1" || session != w.session {
		return nil, fault.New(fault.NotFound, "nobody waits for this console here")
	}
	return w.sit, nil
}

// A poll that waits is answered as soon as a console is waited for.
func TestCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, w := newControl(1), &waiting{calls: make(chan vm.Call, 1)}
		client := join(t, c, direct{handler: wire.Handler(c, wire.Config{Consoles: w})})
		var called []vm.Call
		client.OnCall(func(calls []vm.Call) { called = append(called, calls...) })
		known := vm.List{Server: "srv_1", Epoch: 1, Revision: 5}
		begun := time.Now()
		go func() {
			time.Sleep(7 * time.Second)
			w.calls <- vm.Call{Session: "call_1", VM: "0xA", Take: true}
			c.order(func(*vm.List) {})
		}()
		list, news, err := client.Sync(t.Context(), vm.Report{Sequence: 1}, known, time.Hour)
		if err != nil || news || list.Revision != 5 || time.Since(begun) != 7*time.Second {
			t.Errorf("Sync = %+v, %t, %v after %s; want the known list after 7s", list, news, err, time.Since(begun))
		}
		if len(called) != 1 || called[0] != (vm.Call{Session: "call_1", VM: "0xA", Take: true}) {
			t.Errorf("called for %+v", called)
		}
	})
}

// consoles is a control plane with real sockets at which somebody waits.
func consoles(t *testing.T, c *control, w *waiting) (at string) {
	t.Helper()
	server := httptest.NewServer(wire.Handler(c, wire.Config{Consoles: w}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestConsole(t *testing.T) {
	t.Parallel()
	c := newControl(1)
	w := &waiting{session: "call_1", sit: func(ctx context.Context, line serial.Line) {
		f, err := line.Receive(ctx)
		if err == nil && f.Note != nil && f.Note.Text == "you write" {
			_ = line.Send(ctx, serial.Frame{Data: []byte("ls\r")})
		}
		line.Close(ctx, serial.Note{Text: "bye"})
	}}
	client, err := wire.NewClient(consoles(t, c, w), wire.Identity{Server: "srv_1", Key: key(7), Control: c.ControlKey()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Console(t.Context(), "call_1"); !fault.Is(err, fault.Denied) {
		t.Errorf("before it joined: %v, want a Denied fault", err)
	}
	c.agents["srv_1"] = key(7).Public().(ed25519.PublicKey)
	if _, err := client.Console(t.Context(), "call_2"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a session that nobody has: %v, want a NotFound fault", err)
	}
	line, err := client.Console(t.Context(), "call_1")
	if err != nil {
		t.Fatal(err)
	}
	if err := line.Send(t.Context(), serial.Frame{Note: &serial.Note{Text: "you write"}}); err != nil {
		t.Fatal(err)
	}
	typed, err := line.Receive(t.Context())
	if err != nil || string(typed.Data) != "ls\r" {
		t.Errorf("received %+v, %v", typed, err)
	}
	last, err := line.Receive(t.Context())
	if err != nil || last.Note == nil || !last.Note.End || last.Note.Text != "bye" {
		t.Errorf("received %+v, %v, want the end", last, err)
	}
	if _, err := line.Receive(t.Context()); err == nil {
		t.Error("something follows the end")
	}
}

// A console is given to the control plane that was pinned, and only what is signed for
// this session by this server's agent gets one.
func TestForgedConsoles(t *testing.T) {
	t.Parallel()
	sat := make(chan struct{}, 8)
	w := &waiting{session: "call_1", sit: func(context.Context, serial.Line) { sat <- struct{}{} }}
	right, other := newControl(1), newControl(2)
	for _, c := range []*control{right, other} {
		c.agents["srv_1"] = key(7).Public().(ed25519.PublicKey)
	}
	id := wire.Identity{Server: "srv_1", Key: key(7), Control: right.ControlKey()}
	client, err := wire.NewClient(consoles(t, other, w), id, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Console(t.Context(), "call_1"); !errors.Is(err, wire.ErrForged) {
		t.Errorf("of another control plane: %v, want %v", err, wire.ErrForged)
	}
	<-sat
	at := consoles(t, right, w)
	for name, change := range map[string]func(http.Header){
		"another session": func(h http.Header) { h.Set("Cpucloud-Session", "call_1") },
		"another server":  func(h http.Header) { h.Set("Cpucloud-Server", "srv_2") },
		"no signature":    func(h http.Header) { h.Del("Cpucloud-Signature") },
		"no session":      func(h http.Header) { h.Del("Cpucloud-Session") },
	} {
		client, err := wire.NewClient(at, id, &http.Client{Transport: changing(change)})
		if err != nil {
			t.Fatal(err)
		}
		session := "call_1"
		if name == "another session" {
			session = "call_0"
		}
		if line, err := client.Console(t.Context(), session); err == nil {
			line.Close(t.Context(), serial.Note{})
			t.Errorf("%s: it was connected", name)
		}
	}
	if len(sat) != 0 {
		t.Errorf("%d got a console", len(sat))
	}
}

// changing changes the headers of requests.
type changing func(http.Header)

func (c changing) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	c(r.Header)
	return http.DefaultTransport.RoundTrip(r)
}
