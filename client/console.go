package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// ConsoleOptions say how to sit before a console; the zero value writes if nobody else does.
type ConsoleOptions struct {
	ReadOnly bool `json:"readOnly,omitempty"` // only watch
	Take     bool `json:"take,omitempty"`     // write in the place of who does
}

// ConsoleToken opens a console once.
type ConsoleToken struct {
	URL       string    `json:"url"` // relative to the cloud's address
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// Note is what the cloud says beside what a console shows.
type Note struct {
	Text   string `json:"text"`
	Writer *bool  `json:"writer"` // whether you write from now on; nil for no change
	End    bool   `json:"end"`    // nothing follows
	Failed bool   `json:"failed"` // and it ended otherwise than was wished
}

// Console is a seat before the serial console of a VM.
type Console struct{ conn *websocket.Conn }

const (
	// maxTyped is the most that is sent in one message.
	maxTyped = 32 << 10
	// maxShown bounds a message of the cloud.
	maxShown = 64 << 10
	// consoleTries is how often a console is opened where each try may come to another
	// part of the cloud.
	consoleTries = 12
)

// ConsoleLog returns the end of what a VM wrote to its serial console, at most 256
// KiB: any bytes, not fit for a terminal as they are.
func (c *Client) ConsoleLog(ctx context.Context, id string) ([]byte, error) {
	var text bytes.Buffer
	err := c.persist(ctx, func() error {
		text.Reset()
		return c.do(ctx, call{method: http.MethodGet, path: "/v1/vms/" + url.PathEscape(id) + "/console/log", copy: &text})
	})
	return text.Bytes(), err
}

// ConsoleToken makes a token with which anybody can open the console, once, within
// a minute.
func (c *Client) ConsoleToken(ctx context.Context, id string, o ConsoleOptions) (ConsoleToken, error) {
	var t ConsoleToken
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/vms/" + url.PathEscape(id) + "/console", body: o, answer: &t})
	return t, err
}

// OpenConsole sits down before the serial console of a VM.
func (c *Client) OpenConsole(ctx context.Context, id string, o ConsoleOptions) (*Console, error) {
	var t ConsoleToken
	err := c.persist(ctx, func() (err error) {
		t, err = c.ConsoleToken(ctx, id, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(t.URL, "/") {
		return nil, errors.New("the cloud gave no address for the console")
	}
	var console *Console
	err = c.persist(ctx, func() (err error) {
		console, err = c.enter(ctx, t.URL)
		return err
	})
	return console, err
}

// persist tries again while the cloud says that it may be elsewhere.
func (c *Client) persist(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if StatusOf(err) != http.StatusServiceUnavailable || n == consoleTries || !pause(ctx, pauses[min(n-1, 1)]) {
			return err
		}
	}
}

func (c *Client) enter(ctx context.Context, path string) (*Console, error) {
	h := c.http
	h.Timeout = 0 // it would end the console
	dialing, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, answer, err := websocket.Dial(dialing, c.base+path, &websocket.DialOptions{ //nolint:bodyclose // Dial has read it
		HTTPClient: &h, HTTPHeader: http.Header{"User-Agent": {c.agent}},
	})
	switch {
	case err == nil:
		conn.SetReadLimit(maxShown)
		return &Console{conn}, nil
	case answer != nil:
		return nil, refusal(answer)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL, which holds the token
	}
	return nil, &unreached{fmt.Errorf("reach %s: %w", c.base, err)}
}

// Read returns what the VM wrote, or else a note of the cloud. One goroutine may read
// while another writes. It returns io.EOF when the console was closed in order; once
// ctx is done, the console is of no more use.
func (c *Console) Read(ctx context.Context) (text []byte, note *Note, err error) {
	kind, message, err := c.conn.Read(ctx)
	switch {
	case websocket.CloseStatus(err) == websocket.StatusNormalClosure:
		return nil, nil, io.EOF
	case err != nil:
		return nil, nil, &unreached{fmt.Errorf("read console: %w", err)}
	case kind == websocket.MessageBinary:
		return message, nil, nil
	}
	note = &Note{}
	if err := json.Unmarshal(message, note); err != nil {
		return nil, nil, fmt.Errorf("read note: %w", err)
	}
	return nil, note, nil
}

// Write types.
func (c *Console) Write(ctx context.Context, text []byte) error {
	for len(text) > 0 {
		n := min(len(text), maxTyped)
		if err := c.conn.Write(ctx, websocket.MessageBinary, text[:n]); err != nil {
			return &unreached{fmt.Errorf("write to console: %w", err)}
		}
		text = text[n:]
	}
	return nil
}

// Close leaves.
func (c *Console) Close() error { return c.conn.CloseNow() }
