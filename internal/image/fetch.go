package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/qcow2"
	"github.com/cpucloud/cpucloud/internal/image/unpack"
)

// maxRatio is how many times larger than its download a disk may be. Disks are
// mostly empty: a fresh one of 25 GiB compresses to a hundredth with ease.
const maxRatio = 1000

// fetch downloads, checks and keeps what r asks for.
func (c *Cache) fetch(ctx context.Context, r Request, f *flight) (Base, error) {
	started := c.cfg.Now()
	d := &intake{cache: c, ctx: ctx, request: r, report: f.report}
	var err error
	if d.spool, err = c.openSpool(f.key, r.Tenant); err != nil {
		return Base{}, err
	}
	d.private = d.spool.state.Owner != ""
	e, err := c.bring(ctx, d, f)
	d.close()
	f.setPrivate(d.private)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		d.spool.end(err, c.cfg.Now())
		return Base{}, err
	}
	d.spool.drop()
	e.FetchedAt, e.UsedAt = started, started
	e.Private = r.Tenant != "" && (d.private || c.private(r.URL))
	if err := c.remember(r.key(e.Private), e); err != nil {
		return Base{}, err
	}
	c.cfg.Log.InfoContext(ctx, "image fetched", "url", e.URL, "digest", e.Digest, "bytes", e.Bytes,
		"virtual_bytes", e.VirtualBytes, "duration", c.cfg.Now().Sub(started))
	return c.base(e), nil
}

// bring downloads what d is for and puts the disk in its place. It begins from
// the start again when the image changes on the way.
func (c *Cache) bring(ctx context.Context, d *intake, f *flight) (entry, error) {
	promise, err := parse(d.request.URL)
	if err != nil {
		return entry{}, err
	}
	for anew := 0; ; anew++ {
		e, err := c.land(ctx, d, promise, f)
		if !errors.Is(err, errAnew) || anew == mostAnew {
			return e, err
		}
		if err := d.restart(); err != nil {
			return entry{}, err
		}
	}
}

// land downloads d, from its first byte, and puts the disk in its place.
func (c *Cache) land(ctx context.Context, d *intake, promise suffix, f *flight) (entry, error) {
	got, to := d.spool.file, io.Discard // as it comes, in the spool, is what it is
	if promise.codec != unpack.None {
		tmp, err := c.temp()
		if err != nil {
			return entry{}, err
		}
		defer tmp.discard()
		got, to = tmp, tmp
	}
	kind, err := receive(to, d, promise, f.disk)
	if err != nil {
		return entry{}, err
	}
	sum := d.spool.digest()
	if err := d.request.checkSum(sum); err != nil {
		return entry{}, err
	}
	e := entry{URL: Redact(d.request.URL), Sum: sum, Digest: got.digest(), Format: kind, Bytes: d.spool.size, ETag: d.etag}
	e.VirtualBytes, err = c.settle(ctx, got, e, f)
	return e, err
}

// receive writes what body brings, decompressed, to w as long as it can become a
// disk of the size that disk returns.
func receive(w io.Writer, body io.Reader, promise suffix, disk func() int64) (format, error) {
	kind := rawFormat // until the first bytes are seen
	plain, err := unpack.NewReader(body, promise.codec, unpack.Limits{Ratio: maxRatio, Out: func(n int64) error {
		return tooLong(kind, n, disk())
	}})
	if err != nil {
		return "", err
	}
	r := bufio.NewReaderSize(plain, qcow2.HeaderBytes)
	head, err := r.Peek(qcow2.HeaderBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if len(head) == 0 {
		return "", fault.New(fault.Invalid, "the image is empty")
	}
	if kind, err = sniff(head, promise.holds); err != nil {
		return "", err
	}
	if kind == qcow2Format { // a disk that doesn't fit need not be downloaded
		h, err := qcow2.Parse(bytesAt(head))
		if err != nil {
			return "", err
		}
		if err := tooLarge(h.VirtualBytes, disk()); err != nil {
			return "", err
		}
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, block))
	return kind, err
}

// settle checks what is in tmp and puts it in its place as a raw disk, whose
// size it returns.
func (c *Cache) settle(ctx context.Context, tmp *file, e entry, f *flight) (int64, error) {
	if e.Format == rawFormat {
		if err := checkWhole(tmp, tmp.size); err != nil {
			return 0, err
		}
		return tmp.size, c.place(tmp, e, tmp.size)
	}
	h, err := qcow2.Parse(tmp)
	if err != nil {
		return 0, err
	}
	flat, err := c.temp()
	if err != nil {
		return 0, err
	}
	defer flat.discard()
	// Not qemu-img convert: nothing but memory-safe code ever reads the
	// format in a file that a stranger wrote, and VMs start faster from a
	// raw disk than from a compressed one.
	err = qcow2.Flatten(ctx, qcow2.Source{R: tmp, Size: tmp.size, Header: h}, flat, func(at int64) {
		f.report(Progress{Unpack, at, h.VirtualBytes})
	})
	if err != nil {
		return 0, err
	}
	return h.VirtualBytes, c.place(flat, e, h.VirtualBytes)
}

// place gives tmp its name, unless the same image is there under another URL.
func (c *Cache) place(tmp *file, e entry, size int64) error {
	e.VirtualBytes = size
	c.touch(e.Digest)
	if e.present(c.root) {
		return nil
	}
	return tmp.keep(nameOf(e.Digest), size)
}

// tooLarge returns an Invalid fault if a disk of need bytes doesn't fit one of
// have bytes.
func tooLarge(need, have int64) error {
	if need <= have {
		return nil
	}
	return fault.Newf(fault.Invalid, "the image needs %d GiB, the VM has %d GiB", (need+1<<30-1)>>30, have>>30)
}

// tooLong is tooLarge for a file of which n bytes are known. One in qcow2 can be
// larger than its disk by its tables: 10 bytes for each cluster of 512, and a
// few whole clusters.
func tooLong(f format, n, have int64) error {
	if f == qcow2Format {
		n -= have/16 + 16<<20
	}
	if n <= have {
		return nil
	}
	return fault.Newf(fault.Invalid, "the image needs more than %d GiB, which is what the VM has", have>>30)
}

// bytesAt reads from memory.
type bytesAt []byte

// ReadAt implements io.ReaderAt.
func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// checkStatus turns what the server answered into a fault, unless that is the
// image.
func checkStatus(r *http.Response) error {
	kind := fault.Invalid
	switch {
	case r.StatusCode == http.StatusOK:
		return nil
	case r.StatusCode >= 500, r.StatusCode == http.StatusTooManyRequests,
		r.StatusCode == http.StatusRequestTimeout, r.StatusCode == http.StatusTooEarly:
		kind = fault.Unavailable
	}
	return fault.Newf(kind, "the image server answered %s", strings.TrimSpace(fmt.Sprint(r.StatusCode, " ", http.StatusText(r.StatusCode))))
}
