package wire

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Answers that an agent must not follow; it keeps on with the list it has.
var (
	ErrForged  = errors.New("the answer is not signed with the control plane's key for this request")
	ErrForeign = errors.New("the list is for another server")
	ErrOlder   = errors.New("the list is older than the one that is followed")
)

// transfer is how long a request may take besides the wait it asks for.
const transfer = 30 * time.Second

// Client speaks for one agent.
type Client struct {
	line   line
	id     Identity
	onCall func([]vm.Call) // nil for none
}

// NewClient returns a client of the control plane at address, an https URL, or
// an http URL of a loopback address. A nil h means one with defaults. Returns an
// Invalid fault for another address.
func NewClient(address string, id Identity, h *http.Client) (*Client, error) {
	l, err := newLine(address, h)
	if err != nil {
		return nil, err
	}
	if len(id.Key) != ed25519.PrivateKeySize || len(id.Control) != ed25519.PublicKeySize || id.Server == "" {
		return nil, fault.New(fault.Invalid, "this agent has not joined yet")
	}
	return &Client{line: l, id: id}, nil
}

// Enroll joins the control plane at address: it uses up token, makes key the
// one that this server speaks with, and pins the control plane's own.
func Enroll(ctx context.Context, address string, h *http.Client, token string, key ed25519.PrivateKey, inv capacity.Inventory) (Identity, error) {
	l, err := newLine(address, h)
	if err != nil {
		return Identity{}, err
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return Identity{}, errors.New("the key has no public half")
	}
	status, body, signed, err := l.send(ctx, enrollPath, "", key, enrollment{token, public, inv})
	if err != nil {
		return Identity{}, err
	}
	if status != http.StatusOK {
		return Identity{}, refusal(status, body)
	}
	var m membership
	if err := json.Unmarshal(body, &m); err != nil || m.Server == "" || len(m.ControlKey) != ed25519.PublicKeySize {
		return Identity{}, fault.New(fault.Unavailable, "what answers at this address is no control plane")
	}
	// Nothing is pinned yet, so this only shows that the key in the answer
	// and the key that signs are one: the transport vouches for the rest.
	if !signed.by(m.ControlKey, "", status, body) {
		return Identity{}, ErrForged
	}
	return Identity{Server: m.Server, Key: key, Control: m.ControlKey}, nil
}

// Sync reports and returns the list to follow: a newer one than known as soon
// as there is one, or known with news false after wait, at most MaxWait. Every
// report needs a new sequence. Errors: a fault of the control plane, Conflict
// for a sequence that is not above the last, vm.ErrCopied for a copy;
// ErrForged, ErrForeign and ErrOlder; an Unavailable fault when the control plane is out of reach.
func (c *Client) Sync(ctx context.Context, report vm.Report, known vm.List, wait time.Duration) (list vm.List, news bool, err error) {
	wait = min(wait, MaxWait)
	ctx, cancel := context.WithTimeout(ctx, wait+transfer)
	defer cancel()
	body, err := c.ask(ctx, syncPath, polling{Report: report, Known: vm.Version{Epoch: known.Epoch, Revision: known.Revision}, WaitMS: wait.Milliseconds()})
	if err != nil {
		return vm.List{}, false, err
	}
	var o orders
	if err := json.Unmarshal(body, &o); err != nil {
		return vm.List{}, false, fmt.Errorf("read orders: %w", err)
	}
	switch {
	case o.Server != c.id.Server:
		return vm.List{}, false, ErrForeign
	case o.Older(known):
		return vm.List{}, false, ErrOlder
	}
	if c.onCall != nil && len(o.Calls) > 0 {
		c.onCall(o.Calls)
	}
	if o.Unchanged {
		return known, false, nil
	}
	return o.List, known.Older(o.List), nil
}

// ask sends a message and returns the body of its answer, if it is a success that the
// control plane signed.
func (c *Client) ask(ctx context.Context, path string, message any) ([]byte, error) {
	status, body, signed, err := c.line.send(ctx, path, c.id.Server, c.id.Key, message)
	if err != nil {
		return nil, err
	}
	if !signed.by(c.id.Control, c.id.Server, status, body) {
		return nil, fmt.Errorf("%w (status %d)", ErrForged, status)
	}
	if status != http.StatusOK {
		return nil, refusal(status, body)
	}
	return body, nil
}

// line is the way to a control plane.
type line struct {
	base string
	http *http.Client
}

func newLine(address string, h *http.Client) (line, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
		return line{}, fault.New(fault.Invalid, "the control plane's address is not an http or https URL")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return line{}, fault.New(fault.Invalid, "plain http is only for a control plane on this machine: use https")
	}
	if h == nil {
		h = &http.Client{}
	}
	own := *h
	own.CheckRedirect = func(*http.Request, []*http.Request) error {
		return errors.New("the control plane does not redirect")
	}
	return line{base: strings.TrimSuffix(u.String(), "/"), http: &own}, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// proof is the signature of an answer and that of the request it answers.
type proof struct {
	request string
	answer  []byte
}

func (p proof) by(key ed25519.PublicKey, server string, status int, body []byte) bool {
	return ed25519.Verify(key, answer(server, p.request, status, body), p.answer)
}

// send signs message and returns the answer, whose proof the caller checks.
func (l line) send(ctx context.Context, path, server string, key ed25519.PrivateKey, message any) (int, []byte, proof, error) {
	body, err := json.Marshal(message)
	if err != nil {
		return 0, nil, proof{}, fmt.Errorf("write message: %w", err)
	}
	p := proof{request: base64.StdEncoding.EncodeToString(ed25519.Sign(key, request(path, server, body)))}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, proof{}, fmt.Errorf("make request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(serverHeader, server)
	r.Header.Set(signatureHeader, p.request)
	answer, err := l.http.Do(r)
	if err != nil {
		return 0, nil, proof{}, away(err)
	}
	defer answer.Body.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(answer.Body, MaxAnswer+1))
	if err != nil {
		return 0, nil, proof{}, away(err)
	}
	if len(text) > MaxAnswer {
		return 0, nil, proof{}, fault.New(fault.Unavailable, "the control plane's answer is too long")
	}
	// A signature that can't be read proves nothing, which is what nil does.
	p.answer, _ = base64.StdEncoding.DecodeString(answer.Header.Get(signatureHeader))
	return answer.StatusCode, text, p, nil
}

// away keeps err for errors.Is and says what it means.
func away(err error) error {
	return fmt.Errorf("%w: %w", fault.New(fault.Unavailable, "the control plane is out of reach"), err)
}

// refusal turns an answer that is no success into the fault it was.
func refusal(status int, body []byte) error {
	var p problem
	if err := json.Unmarshal(body, &p); err != nil || p.Error == "" {
		p.Error = http.StatusText(status)
	}
	if p.Code == codeCopied {
		return vm.ErrCopied
	}
	return fault.New(kindOf(status), p.Error)
}
