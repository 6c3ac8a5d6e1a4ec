package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/coder/websocket"
)

// consoleText is the end of what every VM of a stub wrote, made to be obeyed by a terminal.
const consoleText = "\x1b[2J\x1b]0;owned\x07[    0.000000] Linux version 6.1\r\n\x1b[1;31mweb login:\x1b[0m \u009b1m\xff\ttab\n"

// console answers for consoles. One whose VM's name begins with "busy" has a writer; one
// that begins with "away" is found at the third try.
func (s *stub) console(w http.ResponseWriter, r *http.Request, body doc) {
	id := vmOf(r)
	name := ""
	for _, v := range s.vms {
		if v["id"] == id {
			name, _ = v["vmName"].(string)
		}
	}
	if strings.HasPrefix(name, "away") {
		if s.tries++; s.tries%3 != 0 {
			refuse(w, http.StatusServiceUnavailable, "the server of the VM is not connected here")
			return
		}
	}
	if strings.HasSuffix(r.URL.Path, "/log") {
		_, _ = w.Write([]byte(consoleText))
		return
	}
	take, _ := body["take"].(bool)
	answer(w, http.StatusCreated, doc{
		"url": fmt.Sprintf("/v1/vms/%s/console?token=%s.%t", id, name, take), "token": "t", "expiresAt": "2026-01-31T12:01:00Z",
	})
}

// enter serves a console: its guest answers in capitals, and powers off at "halt".
func (s *stub) enter(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow() //nolint:errcheck // it may be closed
	ctx := r.Context()
	name, take, _ := strings.Cut(r.URL.Query().Get("token"), ".")
	writes := take == "true" || !strings.HasPrefix(name, "busy")
	note(ctx, conn, doc{"writer": writes, "text": map[bool]string{true: "you write", false: "somebody else writes; you watch"}[writes]})
	for {
		_, typed, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if bytes.Contains(typed, []byte("halt")) {
			note(ctx, conn, doc{"text": "the VM was switched off\x1b[2J", "end": true, "failed": true})
			_ = conn.Close(websocket.StatusNormalClosure, "")
			return
		}
		if writes {
			_ = conn.Write(ctx, websocket.MessageBinary, bytes.ToUpper(typed))
		}
	}
}

func note(ctx context.Context, conn *websocket.Conn, n doc) {
	text, _ := json.Marshal(n)
	_ = conn.Write(ctx, websocket.MessageText, text)
}
