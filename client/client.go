// Package client speaks the CPU Cloud API.
//
//	cloud := client.New("https://cloud.example", key)
//	made, err := cloud.Deploy(ctx, client.Deployment{
//		Instances: 1,
//		RequestID: "build-4711",
//		VM: client.VMConfiguration{Name: "web", OSImage: image, SSHKeys: []string{"laptop"}},
//	})
//	vm, err := cloud.WaitVM(ctx, made[0].ID, client.StatusActive)
//
// Every method may return an [Error], which is what the cloud answered, or
// another error when there was no answer. A Client may be used by many
// goroutines at once.
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
)

const (
	maxAnswer    = 64 << 20 // a list of VMs is about 1 KiB per VM
	maxRefusal   = 64 << 10
	callTimeout  = time.Minute // longer than any wait that the server is asked for
	defaultAgent = "cpucloud-go"
)

// Amount is a sum in USDC as a decimal, such as "0.30697". It is text, because
// a float can't hold it.
type Amount = string

// Client is one API key at one cloud.
type Client struct {
	base  string
	key   string
	agent string
	http  http.Client
	dry   bool  // nothing may change, see DryRun
	err   error // what is wrong with base; every call returns it
}

// Option changes how a Client calls.
type Option func(*Client)

// WithHTTPClient calls through h. The Client takes a copy that follows no
// redirects, since they would carry the API key to another host.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = *h } }

// WithUserAgent names the calling program.
func WithUserAgent(name string) Option { return func(c *Client) { c.agent = name } }

// New returns a client of the cloud at base, such as https://cloud.example.
// The key may be empty for a cloud in front of which something else signs in.
func New(base, apiKey string, options ...Option) *Client {
	c := &Client{base: strings.TrimRight(base, "/"), key: apiKey, agent: defaultAgent, http: http.Client{Timeout: callTimeout}}
	for _, o := range options {
		o(c)
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.err = checkBase(base)
	return c
}

func checkBase(base string) error {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return errors.New("the cloud's address is not a URL")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return fmt.Errorf("the cloud's address %q is no http or https URL", u.Redacted())
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return errors.New("the cloud's address must not carry a user, a query or a fragment")
	}
	return nil
}

// URL returns the cloud's address.
func (c *Client) URL() string { return c.base }

// call is one request.
type call struct {
	method, path string
	query        url.Values
	body         any       // encoded as JSON unless nil
	answer       any       // decoded into unless nil
	copy         io.Writer // gets the answer as it is, unless nil
	safe         bool      // doing it twice is doing it once
	reads        bool      // it changes nothing, though its method is not GET
	key          string    // Idempotency-Key, "" for none
	match        string    // If-Match, "" for none
}

// get reads the JSON at path.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	var answer T
	err := c.do(ctx, call{method: http.MethodGet, path: path, query: query, answer: &answer, safe: true})
	return answer, err
}

// do makes the call, again after a pause when it is safe and may help.
func (c *Client) do(ctx context.Context, r call) error {
	if c.err != nil {
		return c.err
	}
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	for n := 0; ; n++ {
		err := c.once(ctx, r, body)
		if !r.safe && !c.rehearses(r) || !worthRepeating(err) || n == len(pauses) || !pause(ctx, pauses[n]) {
			return err
		}
	}
}

func (c *Client) once(ctx context.Context, r call, body []byte) error {
	address := c.base + r.path
	if query := c.rehearsed(r); len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.agent)
	if c.key != "" {
		req.Header.Set("X-API-KEY", c.key)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	if r.match != "" {
		req.Header.Set("If-Match", `"`+r.match+`"`)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the whole URL, which says nothing more
		}
		return &unreached{fmt.Errorf("reach %s: %w", c.base, err)}
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return refusal(res)
	}
	if c.rehearses(r) && res.Header.Get(dryRunHeader) != "true" {
		return errNotDry
	}
	if r.copy != nil {
		if _, err := io.Copy(r.copy, res.Body); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		return nil
	}
	return decode(res.Body, r.answer)
}

// decode reads one JSON value, of bounded size, into answer.
func decode(body io.Reader, answer any) error {
	if answer == nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	switch {
	case err != nil:
		return &unreached{fmt.Errorf("read answer: %w", err)}
	case len(text) > maxAnswer:
		return fmt.Errorf("the answer is larger than %d MiB", maxAnswer>>20)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}
