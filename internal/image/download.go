package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

const (
	maxValidator = 256
	// aged is how much older than its answer a Last-Modified has to be to tell
	// two versions apart: RFC 9110, 8.8.2.2, whose predecessor said a minute.
	aged = time.Minute
)

// connection is one answer of an image server that has, or goes on with, the image.
type connection struct {
	r      io.ReadCloser
	ctx    context.Context //nolint:containedctx // lives as long as the request whose answer this is
	cancel context.CancelCauseFunc

	from      int64        // where in the image its first byte lies
	total     int64        // bytes of the image, 0 if the server didn't say
	validator string       // strong; see validatorOf
	etag      string       // as it was sent
	private   bool         // it came from, or by way of, a host that is only for who asked
	seen      atomic.Int64 // bytes that came, for watch
}

// errAnew says that a download can't be gone on with: the server has another
// version by now, or does not keep to what ranges mean.
var errAnew = fault.New(fault.Unavailable, "the image changed while it was fetched")

// connect asks for the image at address, beyond what is in have. Where it can't
// be gone on with, the connection begins at 0, or the error is errAnew. The
// caller closes the connection.
func (c *Cache) connect(ctx context.Context, address string, have *spool) (*connection, error) {
	where, client := c.source(address)
	ctx, cancel := context.WithCancelCause(ctx)
	n := &connection{ctx: ctx, cancel: cancel}
	c.fetches.Go(func() { n.watch(c.cfg.StallBytes, c.cfg.StallAfter) })
	resp, err := n.ask(where, client, have) //nolint:bodyclose // close does, whatever becomes of the answer
	if err == nil {
		err = n.read(resp, have)
	}
	if err == nil && n.total > c.cfg.MaxDownload {
		err = overlong(c.cfg.MaxDownload)
	}
	if err != nil {
		n.close()
		return nil, err
	}
	for hop := resp.Request; where == address && hop != nil; hop = before(hop) {
		n.private = n.private || c.onPrivateHost(hop.URL.String())
	}
	return n, nil
}

// before returns the request whose answer led to r.
func before(r *http.Request) *http.Request {
	if r.Response == nil {
		return nil
	}
	return r.Response.Request
}

// ask sends the request.
func (n *connection) ask(where string, client *http.Client, have *spool) (*http.Response, error) {
	req, err := http.NewRequestWithContext(n.ctx, http.MethodGet, where, http.NoBody)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the image's address is not a URL")
	}
	req.Header.Set("User-Agent", "cpucloud")
	req.Header.Set("Accept-Encoding", "identity")
	if have.resumable() {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have.size))
		req.Header.Set("If-Range", have.state.Validator)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, n.refusal(err, req.URL.Hostname())
	}
	n.r = resp.Body
	return resp, nil
}

// read reads the head of the answer.
func (n *connection) read(resp *http.Response, have *spool) error {
	n.validator, n.etag = validatorOf(resp.Header)
	switch {
	case resp.StatusCode == http.StatusPartialContent && have.resumable():
		return n.readPart(resp, have)
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && have.resumable():
		return errAnew
	}
	n.total = max(resp.ContentLength, 0)
	return checkStatus(resp)
}

// readPart checks that what follows is the rest of what is in have, by all that
// the server says of it.
func (n *connection) readPart(resp *http.Response, have *spool) error {
	first, last, total, err := parseContentRange(resp.Header.Get("Content-Range"))
	known := have.state.Total
	switch {
	case err != nil, first != have.size, last < first,
		n.validator != "" && n.validator != have.state.Validator,
		total > 0 && known > 0 && total != known, total > 0 && last != total-1,
		resp.ContentLength >= 0 && resp.ContentLength != last-first+1:
		return errAnew
	}
	n.from, n.total, n.validator = first, max(total, known), have.state.Validator
	return nil
}

// parseContentRange reads "bytes 5-9/10"; total is 0 for "bytes 5-9/*".
func parseContentRange(text string) (first, last, total int64, err error) {
	span, ok := strings.CutPrefix(text, "bytes ")
	span, size, ok2 := strings.Cut(span, "/")
	from, to, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, 0, errAnew
	}
	read := func(s string) int64 {
		n, e := strconv.ParseUint(s, 10, 63)
		err = errors.Join(err, e)
		return int64(n) //nolint:gosec // 63 bits
	}
	if first, last = read(from), read(to); size != "*" {
		total = read(size)
		if total == 0 {
			err = errors.Join(err, errAnew)
		}
	}
	return first, last, total, err
}

// validatorOf returns what tells a version of the image from all others, "" when
// the server gives nothing that does: a strong ETag, or a Last-Modified that was
// long ago when the answer was sent.
func validatorOf(h http.Header) (validator, etag string) {
	etag = h.Get("ETag")
	if len(etag) > maxValidator {
		etag = ""
	}
	if len(etag) > 2 && strings.HasPrefix(etag, `"`) && strings.HasSuffix(etag, `"`) {
		return etag, etag
	}
	modified := h.Get("Last-Modified")
	at, err := http.ParseTime(modified)
	sent, err2 := http.ParseTime(h.Get("Date"))
	if etag == "" && err == nil && err2 == nil && len(modified) <= maxValidator && sent.Sub(at) >= aged {
		return modified, etag
	}
	return "", etag
}

// watch ends the request when less than least bytes come in one window.
func (n *connection) watch(least int64, window time.Duration) {
	tick := time.NewTicker(window)
	defer tick.Stop()
	last := int64(0)
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
			now := n.seen.Load()
			if now-last < least {
				n.cancel(errStalled)
				return
			}
			last = now
		}
	}
}

// close ends the request.
func (n *connection) close() {
	n.cancel(context.Canceled)
	if n.r != nil {
		_ = n.r.Close() // nothing more is wanted of it
	}
}

// broken makes a sentence of the error that ended a connection when got of
// total bytes of the image were there.
func (n *connection) broken(err error, got, total int64) error {
	if n.ctx.Err() != nil {
		return context.Cause(n.ctx)
	}
	if total > 0 && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)) {
		return fault.Newf(fault.Unavailable, "the image is cut off: %s of %s bytes arrived", grouped(got), grouped(total))
	}
	return fault.Newf(fault.Unavailable, "the connection to the image server broke after %s bytes", grouped(got))
}

func overlong(most int64) error {
	return fault.Newf(fault.Invalid, "the image is a download of more than %s bytes", grouped(most))
}

// refusal makes a sentence of the error of a request to host. The text of such
// errors holds addresses with all that is secret in them, so it isn't kept.
func (n *connection) refusal(err error, host string) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if n.ctx.Err() != nil {
		return context.Cause(n.ctx)
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return fault.Newf(fault.Invalid, "the image server %q does not exist", host)
		}
		return fault.Newf(fault.Unavailable, "the name of the image server %q can't be looked up at the moment", host)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fault.New(fault.Invalid, "the image server's certificate is not valid")
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return fault.Newf(fault.Unavailable, "the image server %q did not answer in time", host)
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%w: %w", fault.Newf(fault.Unavailable, "the image server %q can't be reached", host), e)
	}
	return fault.Newf(fault.Unavailable, "the image server %q gave no proper answer", host)
}

// grouped writes n with commas between thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
