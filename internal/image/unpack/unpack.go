// Package unpack decompresses a stream from somebody who isn't trusted: the
// memory, the bytes and the ratio it can cost are bounded.
package unpack

import (
	"bufio"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Codec is a compression.
type Codec string

// The codecs. None passes the stream through, within the limits.
const (
	None Codec = ""
	Gzip Codec = "gz"
	XZ   Codec = "xz"
)

// Limits of one stream.
type Limits struct {
	Out   func(n int64) error // judges that n bytes have come out so far
	Ratio int64               // bytes out per byte in, counted after the first slack bytes
}

// slack is what may come out of any stream, whatever its ratio: small disks
// are mostly empty.
const slack = 256 << 20

// NewReader returns what src holds, decompressed. Reads end with an Invalid
// fault when the data is damaged, exceeds the ratio, or holds anything after
// its one compressed stream; errors of src and of l.Out are returned as they
// are.
func NewReader(src io.Reader, c Codec, l Limits) (io.Reader, error) {
	in := &counter{r: src}
	r, err := open(in, c)
	if err != nil {
		return nil, sentence(err, in, c)
	}
	return &limited{r: r, in: in, codec: c, limits: l}, nil
}

func open(in *counter, c Codec) (io.Reader, error) {
	switch c {
	case None:
		return in, nil
	case Gzip:
		return newGzip(bufio.NewReaderSize(in, 64<<10))
	case XZ:
		return newXZ(bufio.NewReaderSize(in, 64<<10))
	}
	return nil, fault.Newf(fault.Internal, "unknown codec %q", c)
}

// limited enforces the limits on what comes out.
type limited struct {
	r      io.Reader
	in     *counter
	codec  Codec
	limits Limits
	out    int64
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.out += int64(n)
	if over := l.limits.Out(l.out); over != nil {
		return 0, over
	}
	switch {
	case l.codec != None && l.out > slack && l.out/l.limits.Ratio > l.in.n:
		return 0, fault.Newf(fault.Invalid, "the image expands to more than %d times its compressed size", l.limits.Ratio)
	case err != nil && !errors.Is(err, io.EOF):
		return n, sentence(err, l.in, l.codec)
	}
	return n, err
}

// sentence tells an error of the source, which is returned as it is, from one
// of the compressed data.
func sentence(err error, in *counter, c Codec) error {
	if in.err != nil && !errors.Is(in.err, io.EOF) {
		return in.err
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fault.Newf(fault.Invalid, "the image's %s data ends too early", c)
	}
	return fault.Newf(fault.Invalid, "the image is not valid %s data, or damaged", c)
}

// counter counts what was read and keeps the error that ended it.
type counter struct {
	r   io.Reader
	n   int64
	err error
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil {
		c.err = err
	}
	return n, err
}

// single reads one gzip member and refuses anything after it.
type single struct {
	z    *gzip.Reader
	rest *bufio.Reader
}

func newGzip(r *bufio.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(r) // r is an io.ByteReader, so that z reads no further than its member
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &single{z: z, rest: r}, nil
}

// Read implements io.Reader.
func (s *single) Read(p []byte) (int, error) {
	n, err := s.z.Read(p)
	if errors.Is(err, io.EOF) {
		err = end(s.rest)
	}
	return n, err
}

// end returns io.EOF when r is at its end.
func end(r io.ByteReader) error {
	_, err := r.ReadByte()
	if err == nil {
		return fault.New(fault.Invalid, "the image has more data after the end of its compressed stream")
	}
	return err
}
