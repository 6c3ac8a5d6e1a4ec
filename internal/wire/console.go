package wire

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io"
	"net/http"

	"github.com/coder/websocket"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/serial"
	"github.com/cpucloud/cpucloud/internal/serial/socket"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// consolePath is where an agent connects a console that it was called for, by a
// WebSocket; sessionHeader says for whom.
const (
	consolePath   = "/agent/v1/console"
	sessionHeader = "Cpucloud-Session"
	maxSession    = 128
)

// Consoles is what the handler asks of those who wait for consoles.
type Consoles interface {
	// ConsoleCalls returns the consoles of a server that are waited for and that its
	// agent was not told of, or so long ago that it may have got lost. Changes of the
	// control plane rings for them.
	ConsoleCalls(serverID string) []vm.Call
	// AnswerConsole takes a call. The function it returns is given the line to the
	// agent, nil where that failed after all, and returns when it is of no more use.
	// Returns a NotFound fault for a call that nobody makes here (any more).
	AnswerConsole(serverID, session string) (connect func(context.Context, serial.Line), err error)
}

// nobody waits for consoles.
type nobody struct{}

// ConsoleCalls implements Consoles.
func (nobody) ConsoleCalls(string) []vm.Call { return nil }

// AnswerConsole implements Consoles.
func (nobody) AnswerConsole(string, string) (func(context.Context, serial.Line), error) {
	return nil, fault.New(fault.NotFound, "nobody waits for this console here")
}

// console connects the agent that signs for a session. The answer to switch is
// signed as all are: an agent gives a console to its control plane alone.
func (h *handler) console(w http.ResponseWriter, r *http.Request) {
	connect, server, err := h.called(r)
	if err != nil {
		h.serve(w, r, func(*http.Request, http.ResponseWriter, call) (any, error) { return nil, err })
		return
	}
	h.sign(w, server, r.Header.Get(signatureHeader), http.StatusSwitchingProtocols, nil)
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		h.log.InfoContext(r.Context(), "console not connected", "server_id", server, "error", err)
		connect(r.Context(), nil)
		return
	}
	line := socket.New(conn)
	go line.Keep(r.Context())
	connect(r.Context(), line)
	line.Close(r.Context(), serial.Note{})
}

// called checks who speaks, and takes the call.
func (h *handler) called(r *http.Request) (connect func(context.Context, serial.Line), server string, err error) {
	server, session := r.Header.Get(serverHeader), r.Header.Get(sessionHeader)
	if len(server) > maxServer || session == "" || len(session) > maxSession {
		return nil, "", fault.New(fault.Malformed, "the request names no server, or no session")
	}
	signature, err := base64.StdEncoding.DecodeString(r.Header.Get(signatureHeader))
	if err != nil {
		return nil, server, errUnsigned
	}
	if err := h.authenticate(r.Context(), consolePath, call{server, signature, []byte(session)}); err != nil {
		return nil, server, err
	}
	connect, err = h.consoles.AnswerConsole(server, session)
	return connect, server, err
}

// OnCall has Sync tell f of the consoles that are asked for. It is set before the
// first Sync; f does not wait.
func (c *Client) OnCall(f func([]vm.Call)) { c.onCall = f }

// Console connects to who waits for the console of a session. Returns a NotFound fault
// when nobody does where this was asked, ErrForged when who answers is not the
// control plane, and an Unavailable fault when it is out of reach.
func (c *Client) Console(ctx context.Context, session string) (*socket.Socket, error) {
	signature := base64.StdEncoding.EncodeToString(ed25519.Sign(c.id.Key, request(consolePath, c.id.Server, []byte(session))))
	header := http.Header{}
	header.Set(serverHeader, c.id.Server)
	header.Set(sessionHeader, session)
	header.Set(signatureHeader, signature)
	conn, answer, err := websocket.Dial(ctx, c.line.base+consolePath, &websocket.DialOptions{HTTPClient: c.line.http, HTTPHeader: header}) //nolint:bodyclose // Dial has read it
	if answer == nil {
		return nil, away(err)
	}
	var body []byte
	if err != nil {
		body, _ = io.ReadAll(io.LimitReader(answer.Body, MaxAnswer)) // one that is cut off is not signed
	}
	proved, _ := base64.StdEncoding.DecodeString(answer.Header.Get(signatureHeader))
	switch p := (proof{signature, proved}); {
	case !p.by(c.id.Control, c.id.Server, answer.StatusCode, body):
		if conn != nil {
			_ = conn.CloseNow()
		}
		return nil, errors.Join(ErrForged, err)
	case err != nil:
		return nil, refusal(answer.StatusCode, bytes.TrimSpace(body))
	}
	return socket.New(conn), nil
}
