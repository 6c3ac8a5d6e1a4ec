package api

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/serial/socket"
)

// textType is the type of content of a console's log.
const textType = "text/plain"

const (
	noConsoleServer = "the server of the VM is not connected here; try again in a moment, on a new connection. GET /v1/vms/{id} tells whether it can be reached at all"
	exampleToken    = "con_4f2k9d1a.seat_06h8k2v0q4c1r7f3m5t9d0b2ng.console_8k2v0q4c1r7f3m5t9d0b2ng6h8k2v0q4" //nolint:gosec // it is none
)

var openConsole = operation{
	method: http.MethodPost, path: "/v1/vms/{id}/console", id: "openConsole", tag: "Virtual machines", status: http.StatusCreated,
	summary: "Get a token for the serial console",
	text: "The token opens the console once, within a minute: connect a WebSocket to `url`, which is relative to the address of this API. " +
		"All who sit before the console see what the VM writes; the first of them types, unless `readOnly`, and `take` takes that over. " +
		"A 503 says that the VM's server is not connected to the part of the control plane that was asked: try again on a new connection.",
	request:  `{"take": false, "readOnly": false}`,
	optional: true,
	response: `{"url": "/v1/vms/` + exampleID + `/console?token=` + exampleToken + `", "token": "` + exampleToken + `", "expiresAt": "2026-01-31T12:01:00Z"}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "take has to be true or false, not string",
		http.StatusNotFound:            `no VM with id "` + exampleID + `"`,
		http.StatusConflict:            "the VM is Terminated and has no console any more",
		http.StatusUnprocessableEntity: "who takes over writing doesn't only read; leave out readOnly or take",
		http.StatusServiceUnavailable:  noConsoleServer,
	},
}

type consoleWish struct {
	ReadOnly bool `json:"readOnly,omitempty" doc:"Only watch, and leave the typing to others."`
	Take     bool `json:"take,omitempty" doc:"Type in the place of who does, who watches from then on."`
}

// ConsoleToken opens a console once.
type ConsoleToken struct {
	URL       string    `json:"url" doc:"Where to connect a WebSocket, relative to the address of this API; empty in a dry run."`
	Token     string    `json:"token" doc:"The token that is in url; empty in a dry run."`
	ExpiresAt time.Time `json:"expiresAt" doc:"Until when it can be used."`
}

func (a *api) openConsole(c *call, in consoleWish) (ConsoleToken, error) {
	if in.ReadOnly && in.Take {
		return ConsoleToken{}, fault.New(fault.Invalid, "who takes over writing doesn't only read; leave out readOnly or take")
	}
	t, err := a.control.OpenConsole(c.Context(), c.who, c.PathValue("id"), control.ConsoleWish(in))
	out := ConsoleToken{Token: t.Token, ExpiresAt: t.Until}
	if t.Token != "" {
		out.URL = "/v1/vms/" + t.VMID + "/console?" + url.Values{"token": {t.Token}}.Encode()
	}
	return out, err
}

var consoleLog = operation{
	method: http.MethodGet, path: "/v1/vms/{id}/console/log", id: "getConsoleLog", tag: "Virtual machines",
	summary: "Get the end of what a VM wrote to its serial console",
	text: "At most 256 KiB, as it was written: it is the guest's own word and may hold any bytes, such as those that a terminal obeys. " +
		"What it wrote while its server's agent was not running may be missing.",
	others: []string{textType},
	refusals: map[int]string{
		http.StatusNotFound:           `no VM with id "` + exampleID + `"`,
		http.StatusConflict:           "the VM is Terminated and has no console any more",
		http.StatusServiceUnavailable: noConsoleServer,
	},
}

// plainText is an answer that is no JSON.
type plainText []byte

func (t plainText) write(_ context.Context, p *page) error {
	p.kind = textType + "; charset=utf-8"
	_, err := p.Write(t)
	return err
}

func (a *api) consoleLog(c *call, _ none) (plainText, error) {
	return a.control.ConsoleLog(c.Context(), c.who, c.PathValue("id"))
}

var enterConsole = operation{
	method: http.MethodGet, path: "/v1/vms/{id}/console", id: "enterConsole", tag: "Virtual machines", access: public, status: http.StatusSwitchingProtocols,
	summary: "Sit before the serial console",
	text: "A WebSocket, opened by the token of POST. Binary messages, of at most 32 KiB, are bytes: what the VM writes one way, what is typed the other. " +
		"Text messages of the server are JSON: `text` is a sentence, `writer` whether you are the one who types from now on, and with `end` nothing follows, " +
		"because of a failure if `failed`. A browser's page may connect to its own origin only. It ends after 30 minutes in which nothing was written or typed, " +
		"after 8 hours, and when the VM is deleted or the API key revoked.",
	query: []parameter{{"token", "Of POST /v1/vms/{id}/console; it is used up.", exampleToken}},
	refusals: map[int]string{
		http.StatusBadRequest:         "this takes a WebSocket",
		http.StatusForbidden:          "the console's token is unknown, was used, or is over; make another one with POST /v1/vms/{id}/console",
		http.StatusServiceUnavailable: "this token was made by another part of the control plane; try again with the same, on a new connection",
	},
}

// enterConsole serves a console over a WebSocket. It takes no API key: the token
// stands for one, and was given for this VM.
func (a *api) enterConsole(w http.ResponseWriter, r *http.Request) {
	seat, err := a.seat(r)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil { // which has answered
		a.Log.DebugContext(r.Context(), "console not opened", "path", r.URL.Path, "error", err)
		return
	}
	line := socket.New(conn)
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	go line.Keep(ctx)
	a.control.Sit(ctx, seat, line)
}

// seat uses up the token of a request, unless that can't come to anything anyhow.
func (a *api) seat(r *http.Request) (control.Seat, error) {
	if !sameOrigin(r) {
		return control.Seat{}, fault.New(fault.Denied, "a page of another origin can't open a console")
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || r.Header.Get("Sec-WebSocket-Key") == "" {
		return control.Seat{}, fault.New(fault.Malformed, "this takes a WebSocket")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return control.Seat{}, fault.New(fault.Malformed, "the query of the address can't be read")
	}
	return a.control.EnterConsole(r.PathValue("id"), query.Get("token"))
}

// sameOrigin reports whether a request comes from no browser, or from a page of the
// host that it goes to. Browsers send the header with every WebSocket and no page
// can change it (RFC 6455, 10.2).
func sameOrigin(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && len(origins) == 1 && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// consoleRoutes are the part of the table for serial consoles.
func (a *api) consoleRoutes() {
	handle(a, openConsole, a.openConsole)
	handle(a, consoleLog, a.consoleLog)
	a.describe(enterConsole, reflect.TypeFor[none](), reflect.TypeFor[none]())
	a.mux.HandleFunc(enterConsole.method+" "+enterConsole.path, a.enterConsole)
}
