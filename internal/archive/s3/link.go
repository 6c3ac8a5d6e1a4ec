package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/archive"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// LinkTime is how long a link is good. It is asked for when it is used, and an object
// has to get through within this time.
const LinkTime = 15 * time.Minute

// Link lets who has it do one thing with one object for a while. It is a secret for
// that time.
type Link string

// LogValue keeps the link out of logs.
func (l Link) LogValue() slog.Value { return slog.StringValue(l.String()) }

// String keeps the link out of texts.
func (l Link) String() string { return "link to a store" }

// GoString keeps the link out of texts, too.
func (l Link) GoString() string { return l.String() }

// PutLink returns a link by which o can be stored, and nothing else: other bytes have
// another MD5, or another length.
func (s *Store) PutLink(ctx context.Context, folder string, o archive.Object) (Link, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, s.address(folder+o.Name), http.NoBody)
	if err != nil {
		return "", fmt.Errorf("make link: %w", err)
	}
	r.ContentLength = o.Bytes
	r.Header.Set(md5Header, base64.StdEncoding.EncodeToString(o.MD5))
	return s.presign(ctx, r)
}

// GetLink returns a link by which an object can be fetched.
func (s *Store) GetLink(ctx context.Context, folder, name string) (Link, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address(folder+name), http.NoBody)
	if err != nil {
		return "", fmt.Errorf("make link: %w", err)
	}
	return s.presign(ctx, r)
}

func (s *Store) presign(ctx context.Context, r *http.Request) (Link, error) {
	query := r.URL.Query()
	query.Set("X-Amz-Expires", strconv.Itoa(int(LinkTime/time.Second)))
	r.URL.RawQuery = query.Encode()
	signed, _, err := s.signer.PresignHTTP(ctx, s.keys(), r, "UNSIGNED-PAYLOAD", service, s.cfg.Location.Region, s.cfg.Now())
	if err != nil {
		return "", fmt.Errorf("sign link: %w", err)
	}
	return Link(signed), nil
}

const md5Header = "Content-Md5"

// Put stores o by a link for it. Its errors say nothing of the link.
func Put(ctx context.Context, client *http.Client, l Link, o archive.Object, body io.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, LinkTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, string(l), io.NopCloser(body))
	if err != nil {
		return errLink
	}
	r.ContentLength = o.Bytes
	r.Header.Set(md5Header, base64.StdEncoding.EncodeToString(o.MD5))
	answer, err := send(client, r)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// Get opens an object by a link for it. Its errors, and those of what it returns, say
// nothing of the link. Returns a NotFound fault for an object that isn't there.
func Get(ctx context.Context, client *http.Client, l Link) (io.ReadCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, LinkTime)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, string(l), http.NoBody)
	if err != nil {
		cancel()
		return nil, errLink
	}
	answer, err := send(client, r) //nolint:bodyclose // the caller does
	if err != nil {
		cancel()
		return nil, err
	}
	return &opened{answer.Body, cancel}, nil
}

var errLink = fault.New(fault.Unavailable, "the control plane gave a link to its store that can't be read")

// opened is the body of an answer.
type opened struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Read implements io.Reader.
func (o *opened) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = away(err)
	}
	return n, err
}

// Close implements io.Closer.
func (o *opened) Close() error {
	defer o.cancel()
	return o.ReadCloser.Close()
}

// send sends a request and returns its answer if it is a success; anything else is a
// fault without the address, which has a signature in it. Redirects are not followed.
func send(client *http.Client, r *http.Request) (*http.Response, error) {
	own := *client
	own.CheckRedirect = noRedirect
	answer, err := own.Do(r)
	if err != nil {
		return nil, away(err)
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer answer.Body.Close()                                  //nolint:errcheck // only read from
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10)) // one that breaks off says less
	return nil, refusal(answer.StatusCode, text)
}

// away says why the store was not reached. The address in the error is left out: it
// may be a link.
func away(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if fault.KindOf(err) != fault.Internal { // of the guard, which says what to do
		return err
	}
	return fmt.Errorf("%w: %w", fault.New(fault.Unavailable, "the store of exports is out of reach"), err)
}

// refusal says what a store answered. Its codes are its own, so only the word is told.
func refusal(status int, body []byte) error {
	var problem struct{ Code string }
	_ = xml.NewDecoder(bytes.NewReader(body)).Decode(&problem) // without one the status has to do
	code := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return -1
	}, problem.Code)
	what := fmt.Sprintf("the store of exports answers %d %.60s", status, code)
	switch status {
	case http.StatusNotFound:
		if code != "NoSuchKey" { // but the bucket, or all of the store
			break
		}
		return fault.New(fault.NotFound, what)
	case http.StatusForbidden, http.StatusUnauthorized:
		return fault.New(fault.Unavailable, what+": its operator has to look at the keys and at what they may do")
	}
	return fault.New(fault.Unavailable, what)
}
