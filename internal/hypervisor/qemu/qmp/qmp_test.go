package qmp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu/qmp"
)

const greeting = `{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}`

// peer plays QEMU: it writes lines, and for each "?" among them first waits
// for a command, whose id replaces ID in what follows. Then it hangs up.
func peer(t *testing.T, lines ...string) (net.Conn, <-chan []string) {
	t.Helper()
	near, far := pair(t)
	commands := make(chan []string, 1)
	go func() {
		defer func() { _ = far.Close() }()
		var got []string
		defer func() { commands <- got }()
		asked, id := bufio.NewScanner(far), ""
		for _, line := range lines {
			if line != "?" {
				if _, err := io.WriteString(far, strings.ReplaceAll(line, "ID", id)+"\n"); err != nil {
					return
				}
				continue
			}
			if !asked.Scan() {
				return
			}
			var c struct{ ID string }
			if json.Unmarshal(asked.Bytes(), &c) == nil {
				id = `"id": "` + c.ID + `"`
			}
			got = append(got, asked.Text())
		}
	}()
	return near, commands
}

// pair returns the two ends of a connection.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if near, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

// ready returns a client whose peer goes on with lines after the capabilities.
func ready(t *testing.T, lines ...string) (*qmp.Client, <-chan []string) {
	t.Helper()
	conn, commands := peer(t, append([]string{greeting, "?", `{"return": {}, ID}`}, lines...)...)
	c, err := qmp.New(t.Context(), conn)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return c, commands
}

func TestCommandsAndAnswers(t *testing.T) {
	t.Parallel()
	c, commands := ready(t, "?", `{"return": {"status": "running"}, ID}`)
	var out struct{ Status string }
	if err := c.Execute(t.Context(), "query-status", map[string]int{"size": 1}, &out); err != nil || out.Status != "running" {
		t.Errorf("Execute = %+v, %v", out, err)
	}
	want := `{"execute":"qmp_capabilities","id":"1"} {"execute":"query-status","arguments":{"size":1},"id":"2"}`
	if got := strings.Join(<-commands, " "); got != want {
		t.Errorf("commands = %s, want %s", got, want)
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	c, _ := ready(t,
		"?", `{"error": {"class": "CommandNotFound", "desc": "no command foo"}, ID}`,
		"?", `{"return": 7, ID}`)
	err := c.Execute(t.Context(), "foo", nil, nil)
	if e, ok := errors.AsType[*qmp.Error](err); !ok || e.Class != "CommandNotFound" || err.Error() != "foo: no command foo" {
		t.Errorf("Execute = %v, want a refusal", err)
	}
	var n int
	if err := c.Execute(t.Context(), "bar", nil, &n); err != nil || n != 7 {
		t.Errorf("Execute after a refusal = %d, %v, want 7", n, err)
	}
}

func TestEventsInBetweenAndEnd(t *testing.T) {
	t.Parallel()
	c, _ := ready(t,
		`{"event": "RESUME", "timestamp": {"seconds": 1}}`, "?",
		`{"event": "SHUTDOWN", "data": {"guest": true}}`, `{"return": {}, ID}`,
		`{"event": "STOP"}`)
	if err := c.Execute(t.Context(), "quit", nil, nil); err != nil {
		t.Fatalf("Execute: %v", err)
	}
	for _, want := range []string{"RESUME ", `SHUTDOWN {"guest": true}`, "STOP "} {
		e, err := c.Next(t.Context())
		if got := e.Name + " " + string(e.Data); err != nil || got != want {
			t.Errorf("Next = %q, %v, want %q", got, err, want)
		}
	}
	if _, err := c.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("Next at the end = %v, want EOF", err)
	}
	if err := c.Execute(t.Context(), "quit", nil, nil); err == nil {
		t.Error("Execute after the end succeeded")
	}
}

func TestBadPeers(t *testing.T) {
	t.Parallel()
	long := `{"return": "` + strings.Repeat("x", 1<<20) + `", ID}`
	tests := map[string]struct {
		lines []string
		want  error
	}{
		"line without end":     {[]string{"?", long}, bufio.ErrTooLong},
		"end instead":          {[]string{"?"}, io.EOF},
		"no JSON":              {[]string{"?", "HTTP/1.1 200 OK"}, qmp.ErrProtocol},
		"answer to another":    {[]string{"?", `{"return": {}, "id": "77"}`}, qmp.ErrProtocol},
		"answer without value": {[]string{"?", `{ID}`}, qmp.ErrProtocol},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := ready(t, test.lines...)
			if err := c.Execute(t.Context(), "query-status", nil, nil); !errors.Is(err, test.want) {
				t.Errorf("Execute = %v, want %v", err, test.want)
			}
		})
	}
	for _, first := range []string{`{"return": {}}`, "null", "[]", ""} {
		conn, _ := peer(t, first)
		if _, err := qmp.New(t.Context(), conn); !errors.Is(err, qmp.ErrProtocol) {
			t.Errorf("New with greeting %q = %v, want %v", first, err, qmp.ErrProtocol)
		}
	}
}

func TestCutOffLineIsNoAnswer(t *testing.T) {
	t.Parallel()
	near, far := pair(t)
	go func() {
		_, _ = io.WriteString(far, greeting) // no newline
		_ = far.Close()
	}()
	if _, err := qmp.New(t.Context(), near); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("New = %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestFloodOfEventsIsBounded(t *testing.T) {
	t.Parallel()
	lines := []string{"?"}
	for n := range 1000 {
		lines = append(lines, fmt.Sprintf(`{"event": "E%d"}`, n))
	}
	c, _ := ready(t, append(lines, `{"return": {}, ID}`)...)
	if err := c.Execute(t.Context(), "stop", nil, nil); err != nil {
		t.Fatalf("Execute: %v", err)
	}
	kept := 0
	for {
		if _, err := c.Next(t.Context()); err != nil {
			break
		}
		kept++
	}
	if kept != 64 {
		t.Errorf("%d events kept, want 64", kept)
	}
}

func TestSilentPeerDoesNotHoldTheCaller(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "qmp")
	l, err := net.Listen("unix", path) // accepts nobody
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := qmp.Dial(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial = %v, want %v", err, context.DeadlineExceeded)
	}
}
