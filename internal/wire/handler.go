package wire

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Control is what the handler asks of the control plane.
type Control interface {
	// Enroll uses up token and returns the id of the server that it was made
	// for, which from now on speaks with key. Returns a Denied fault for a
	// token that is unknown, used with another key, or expired.
	Enroll(ctx context.Context, token string, key ed25519.PublicKey, inv capacity.Inventory) (serverID string, err error)
	// AgentKey returns the key of a server's agent. Returns a Denied or
	// NotFound fault when there is none.
	AgentKey(ctx context.Context, serverID string) (ed25519.PublicKey, error)
	// Observe takes in a report. Returns a Conflict fault when its sequence
	// is not above that of the last one, and vm.ErrCopied to a copy.
	Observe(ctx context.Context, serverID string, r vm.Report) error
	// Orders returns all that should be on a server.
	Orders(ctx context.Context, serverID string) (vm.List, error)
	// Changes returns a channel that receives, or is closed, when Orders may
	// have news. Receives may be spurious. cancel ends it.
	Changes(serverID string) (changed <-chan struct{}, cancel func())
	// Sign signs message with the control plane's key.
	Sign(message []byte) (signature []byte)
	// ControlKey returns the public half of the key that Sign uses.
	ControlKey() ed25519.PublicKey
}

// Config is what a handler may be told.
type Config struct {
	Log     *slog.Logger
	MaxWait time.Duration // that a poll is held; 0 means the constant of that name

	Consoles Consoles // nil where nobody waits for consoles
	Meters   Meters   // nil where no metrics are kept
	Exports  Exports  // nil where there is no store of exports
}

// Handler answers agents. The server that it is mounted in bounds the number
// of connections and the time to read a request; the handler lifts the time to
// write while it holds a poll.
func Handler(c Control, cfg Config) http.Handler {
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = MaxWait
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Consoles == nil {
		cfg.Consoles = nobody{}
	}
	if cfg.Exports == nil {
		cfg.Exports = nobody{}
	}
	h := &handler{control: c, consoles: cfg.Consoles, exports: cfg.Exports, meters: cfg.Meters, log: cfg.Log, maxWait: cfg.MaxWait}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+enrollPath, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.enroll) })
	mux.HandleFunc("POST "+syncPath, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.sync) })
	mux.HandleFunc("POST "+metricsPath, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.metrics) })
	mux.HandleFunc("POST "+errandPath, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.errand) })
	mux.HandleFunc("GET "+consolePath, h.console)
	return mux
}

type handler struct {
	control  Control
	consoles Consoles
	meters   Meters
	exports  Exports
	log      *slog.Logger
	maxWait  time.Duration
}

// call is one request as it came.
type call struct {
	server    string
	signature []byte
	body      []byte
}

// serve reads a request, lets do work on it and signs the answer.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, do func(*http.Request, http.ResponseWriter, call) (any, error)) {
	status, result := http.StatusOK, any(nil)
	c, err := readCall(w, r)
	if err == nil {
		result, err = do(r, w, c)
	}
	if err != nil {
		status, result = statuses[fault.KindOf(err)], problemOf(err)
		level := slog.LevelInfo
		if status == http.StatusInternalServerError {
			level = slog.LevelError
		}
		if r.Context().Err() == nil {
			h.log.Log(r.Context(), level, "agent request refused", "server_id", c.server, "status", status, "error", err)
		}
	}
	body, err := json.Marshal(result)
	if err != nil {
		h.log.ErrorContext(r.Context(), "agent answer not encoded", "server_id", c.server, "error", err)
		status, body = http.StatusInternalServerError, []byte(`{"error":"internal error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	h.sign(w, c.server, r.Header.Get(signatureHeader), status, body)
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		h.log.DebugContext(r.Context(), "agent hung up", "server_id", c.server, "error", err)
	}
}

// sign puts the signature of an answer to a request beside it.
func (h *handler) sign(w http.ResponseWriter, server, requestSignature string, status int, body []byte) {
	signature := h.control.Sign(answer(server, requestSignature, status, body))
	w.Header().Set(signatureHeader, base64.StdEncoding.EncodeToString(signature))
}

// maxServer is the most bytes of a server's id.
const maxServer = 128

var errUnsigned = fault.New(fault.Denied, "the request is not signed")

func readCall(w http.ResponseWriter, r *http.Request) (call, error) {
	c := call{server: r.Header.Get(serverHeader)}
	if len(c.server) > maxServer {
		return call{}, fault.New(fault.Malformed, "the server id is too long")
	}
	var err error
	if c.signature, err = base64.StdEncoding.DecodeString(r.Header.Get(signatureHeader)); err != nil {
		return c, errUnsigned
	}
	c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, MaxReport))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return c, fault.Newf(fault.Exhausted, "a request has at most %d MiB", MaxReport>>20)
	}
	if err != nil {
		return c, fault.New(fault.Malformed, "the request ended early")
	}
	return c, nil
}

func (h *handler) enroll(r *http.Request, _ http.ResponseWriter, c call) (any, error) {
	var e enrollment
	if err := decode(c.body, &e); err != nil {
		return nil, err
	}
	if len(e.PublicKey) != ed25519.PublicKeySize || !ed25519.Verify(e.PublicKey, request(enrollPath, "", c.body), c.signature) {
		return nil, fault.New(fault.Denied, "the request is not signed with the key that it names")
	}
	if err := checkInventory(e.Inventory); err != nil {
		return nil, err
	}
	server, err := h.control.Enroll(r.Context(), e.Token, e.PublicKey, e.Inventory)
	if err != nil {
		return nil, err
	}
	return membership{Server: server, ControlKey: h.control.ControlKey()}, nil
}

// authenticate returns a Denied fault unless the agent of a server signed the call.
func (h *handler) authenticate(ctx context.Context, path string, c call) error {
	key, err := h.control.AgentKey(ctx, c.server)
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Denied) ||
		err == nil && (len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, request(path, c.server, c.body), c.signature)) {
		return fault.New(fault.Denied, "no agent with this id and key")
	}
	return err
}

func (h *handler) sync(r *http.Request, w http.ResponseWriter, c call) (any, error) {
	ctx := r.Context()
	if err := h.authenticate(ctx, syncPath, c); err != nil {
		return nil, err
	}
	var p polling
	if err := decode(c.body, &p); err != nil {
		return nil, err
	}
	if err := checkReport(p.Report); err != nil {
		return nil, err
	}
	p.Report.Follows = p.Known
	// Subscribed before the revision is read, or a change between the two
	// would be missed and the agent wait in vain.
	changed, cancel := h.control.Changes(c.server)
	defer cancel()
	if err := h.control.Observe(ctx, c.server, p.Report); err != nil {
		return nil, err
	}
	keepOpen(w)
	return h.news(ctx, c.server, p, changed)
}

// news returns the orders as soon as they are newer than what the agent knows, or
// a console is waited for, and whatever they are when the time is up.
func (h *handler) news(ctx context.Context, server string, p polling, changed <-chan struct{}) (orders, error) {
	timer := time.NewTimer(min(time.Duration(p.WaitMS)*time.Millisecond, h.maxWait))
	defer timer.Stop()
	known := vm.List{Epoch: p.Known.Epoch, Revision: p.Known.Revision}
	for last := p.WaitMS == 0; ; {
		list, err := h.control.Orders(ctx, server)
		if err != nil {
			return orders{}, err
		}
		calls := h.consoles.ConsoleCalls(server)
		if last || known.Older(list) || len(calls) > 0 {
			o := tell(list, known)
			o.Calls = calls
			return o, nil
		}
		select {
		case _, open := <-changed:
			last = !open // the control plane stops: nothing more will come
		case <-timer.C:
			last = true
		case <-ctx.Done():
			return tell(list, known), nil
		}
	}
}

// tell leaves the orders out of a list that the agent has.
func tell(list, known vm.List) orders {
	o := orders{List: list, Unchanged: list.Epoch == known.Epoch && list.Revision == known.Revision}
	if o.Unchanged {
		o.Orders = nil
	}
	return o
}

// keepOpen lifts the server's time limits from a connection whose poll is
// held: the agent is known by now. Writers without limits need no lifting.
func keepOpen(w http.ResponseWriter) {
	rc := http.NewResponseController(w)
	_, _ = rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})
}
