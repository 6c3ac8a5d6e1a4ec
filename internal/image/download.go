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
	"sync/atomic"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

const (
	reportEvery = 1 << 20 // bytes
	maxETag     = 256
)

// body is the answer of an image server.
type body struct {
	r      io.ReadCloser
	ctx    context.Context //nolint:containedctx // lives as long as the request whose answer this is
	cancel context.CancelCauseFunc
	most   int64
	total  int64 // that the server announced, 0 if it didn't
	etag   string
	report func(Progress)

	n    int64        // received
	seen atomic.Int64 // the same, for watch
	told int64        // n at the last report
	err  error        // that ended it
}

// download asks for the image at address. The caller closes the body.
func (c *Cache) download(ctx context.Context, address string, report func(Progress)) (*body, error) {
	where, client := c.source(address)
	ctx, cancel := context.WithCancelCause(ctx)
	b := &body{ctx: ctx, cancel: cancel, most: c.cfg.MaxDownload, report: report}
	c.fetches.Go(func() { b.watch(c.cfg.StallBytes, c.cfg.StallAfter) })
	if err := b.start(where, client); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// start sends the request and reads the head of the answer.
func (b *body) start(where string, client *http.Client) error {
	req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, where, http.NoBody)
	if err != nil {
		return fault.New(fault.Invalid, "the image's address is not a URL")
	}
	req.Header.Set("User-Agent", "cpucloud")
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := client.Do(req) //nolint:bodyclose // close does, whatever becomes of the answer
	if err != nil {
		return b.refusal(err, req.URL.Hostname())
	}
	b.r = resp.Body
	if err := checkStatus(resp); err != nil {
		return err
	}
	if resp.ContentLength > b.most {
		return b.overlong()
	}
	b.total = max(resp.ContentLength, 0)
	if etag := resp.Header.Get("ETag"); len(etag) <= maxETag {
		b.etag = etag
	}
	return nil
}

// watch ends the request when less than least bytes come in one window.
func (b *body) watch(least int64, window time.Duration) {
	tick := time.NewTicker(window)
	defer tick.Stop()
	last := int64(0)
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
			if n := b.seen.Load(); n-last < least {
				b.cancel(errStalled)
				return
			} else {
				last = n
			}
		}
	}
}

// close ends the request.
func (b *body) close() {
	b.cancel(context.Canceled)
	if b.r != nil {
		_ = b.r.Close() // nothing more is wanted of it
	}
}

// Read implements io.Reader. After an error, blame has the sentence.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	b.seen.Store(b.n)
	if b.n > b.most {
		err = b.overlong()
	}
	if b.n-b.told >= reportEvery || err != nil {
		b.told = b.n
		b.report(Progress{Download, b.n, b.total})
	}
	b.err = err
	return n, err
}

// blame returns what ended a download: the connection if that broke, else err,
// which what came over it led to.
func (b *body) blame(err error) error {
	if b.err == nil || errors.Is(b.err, io.EOF) || !errors.Is(err, b.err) {
		return err
	}
	if _, ok := errors.AsType[*fault.Error](b.err); ok {
		return b.err
	}
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	if errors.Is(b.err, io.ErrUnexpectedEOF) && b.total > 0 {
		return fault.Newf(fault.Unavailable, "the image is cut off: %s of %s bytes arrived", grouped(b.n), grouped(b.total))
	}
	return fault.Newf(fault.Unavailable, "the connection to the image server broke after %s bytes", grouped(b.n))
}

func (b *body) overlong() error {
	return fault.Newf(fault.Invalid, "the image is a download of more than %s bytes", grouped(b.most))
}

// refusal makes a sentence of the error of a request to host. The text of such
// errors holds addresses with all that is secret in them, so it isn't kept.
func (b *body) refusal(err error, host string) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
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
