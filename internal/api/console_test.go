package api_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/api"
	"github.com/cpucloud/cpucloud/internal/serial"
)

// notebook is a log that can be read.
type notebook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notebook) Write(text []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(text)
}

func (n *notebook) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// A token opens a console once, for its own VM, and for no page of another origin; it
// is in no log.
func TestConsoleToken(t *testing.T) {
	t.Parallel()
	c, log := newCloud(t), &notebook{}
	handler := api.New(c.control, api.Config{Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	id := c.deploy("1")[0]
	_, hangUp := c.control.Changes(c.agent.server)
	t.Cleanup(hangUp)

	var token struct{ URL, Token, ExpiresAt string }
	c.send("POST", "/v1/vms/"+id+"/console", "").wants(http.StatusCreated, &token)
	if !strings.HasSuffix(token.URL, "/v1/vms/"+id+"/console?token="+token.Token) || token.ExpiresAt != "2026-01-31T12:01:00Z" {
		t.Fatalf("token %+v", token)
	}
	other := strings.Replace(token.URL, id, unknown, 1)
	for _, try := range []struct {
		what, url string
		header    http.Header
		status    int
		says      string
	}{
		{"another site", token.URL, http.Header{"Origin": {"https://evil.example"}}, http.StatusForbidden, "another origin"},
		{"a sandboxed page", token.URL, http.Header{"Origin": {"null"}}, http.StatusForbidden, "another origin"},
		{"two origins", token.URL, http.Header{"Origin": {server.URL, "https://evil.example"}}, http.StatusForbidden, "another origin"},
		{"another VM", other, nil, http.StatusForbidden, "token"},
		{"no token", "/v1/vms/" + id + "/console", nil, http.StatusForbidden, "token"},
		{"its own site", token.URL, http.Header{"Origin": {server.URL}}, http.StatusSwitchingProtocols, ""},
		{"once more", token.URL, nil, http.StatusForbidden, "was used"},
	} {
		conn, answer, err := websocket.Dial(t.Context(), server.URL+try.url, &websocket.DialOptions{HTTPHeader: try.header}) //nolint:bodyclose // Dial has read it
		if answer == nil || answer.StatusCode != try.status {
			t.Errorf("%s: %+v, %v, want status %d", try.what, answer, err, try.status)
			continue
		}
		if err == nil {
			t.Cleanup(func() { _ = conn.CloseNow() })
			continue
		}
		var said struct{ Error string }
		if err := json.NewDecoder(answer.Body).Decode(&said); err != nil || !strings.Contains(said.Error, try.says) {
			t.Errorf("%s: said %q, %v, want %q in it", try.what, said.Error, err, try.says)
		}
	}
	secret := token.Token[strings.LastIndex(token.Token, ".")+1:]
	if text := log.String(); !strings.Contains(text, "/console") || strings.Contains(text, secret) {
		t.Errorf("the log tells the token, or nothing of consoles:\n%s", text)
	}
}

func TestConsoleRefusals(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	_, ben := c.newAccount("Ben", account.Customer)
	for _, path := range []string{"/v1/vms/" + id + "/console", "/v1/vms/" + unknown + "/console"} {
		c.sendAs(ben, "POST", path, "{}").refused(http.StatusNotFound, "no VM with id")
		c.sendAs(ben, "GET", path+"/log", "").refused(http.StatusNotFound, "no VM with id")
		c.sendAs("", "POST", path, "{}").refused(http.StatusForbidden, "Auth failed")
		c.sendAs("", "GET", path+"/log", "").refused(http.StatusForbidden, "Auth failed")
		c.sendAs("", "GET", path+"?token=x", "").refused(http.StatusBadRequest, "WebSocket")
	}
	c.send("POST", "/v1/vms/"+id+"/console", `{"take": true, "readOnly": true}`).refused(http.StatusUnprocessableEntity, "readOnly or take")
	away := c.send("POST", "/v1/vms/"+id+"/console", "")
	away.refused(http.StatusServiceUnavailable, "not connected here")
	if got := away.header.Get("Connection"); got != "close" {
		t.Errorf("Connection is %q, want close: the next try is for another replica", got)
	}
}

// The log is bytes of the guest's choice: text, and nothing that a browser takes for anything else.
func TestConsoleLog(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	called, hangUp := c.control.Changes(c.agent.server)
	t.Cleanup(hangUp)
	const text = "<script>alert(1)</script>\x1b[2J\xff"
	go func() {
		for range called {
			for _, call := range c.control.ConsoleCalls(c.agent.server) {
				if connect, err := c.control.AnswerConsole(c.agent.server, call.Session); err == nil && call.Log && call.VM == id {
					connect(t.Context(), &script{frames: []serial.Frame{{Data: []byte(text)}, {Note: &serial.Note{End: true}}}})
					return
				}
			}
		}
	}()
	a := c.send("GET", "/v1/vms/"+id+"/console/log", "")
	if a.status != http.StatusOK || a.body != text {
		t.Errorf("log %d %q, want %q", a.status, a.body, text)
	}
	for name, want := range map[string]string{"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
