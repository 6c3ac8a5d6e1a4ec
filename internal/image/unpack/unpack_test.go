package unpack_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"hash/crc64"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/ulikunitz/xz"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/unpack"
)

var errOver = errors.New("over the limit")

// upTo lets n bytes out.
func upTo(n int64) unpack.Limits {
	return unpack.Limits{Ratio: 100, Out: func(out int64) error {
		if out > n {
			return errOver
		}
		return nil
	}}
}

func read(src io.Reader, c unpack.Codec, l unpack.Limits) ([]byte, error) {
	r, err := unpack.NewReader(src, c, l)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func content() []byte {
	b := make([]byte, 300<<10)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b[:100<<10])
	return b
}

func gzipped(tb testing.TB, b []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func xzed(tb testing.TB, b []byte, c xz.WriterConfig) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := c.NewWriter(&out)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()

	want := content()
	for name, c := range map[string]struct {
		codec unpack.Codec
		data  []byte
	}{
		"none":       {unpack.None, want},
		"gzip":       {unpack.Gzip, gzipped(t, want)},
		"xz":         {unpack.XZ, xzed(t, want, xz.WriterConfig{})},
		"xz crc32":   {unpack.XZ, xzed(t, want, xz.WriterConfig{CheckSum: xz.CRC32})},
		"xz sha256":  {unpack.XZ, xzed(t, want, xz.WriterConfig{CheckSum: xz.SHA256})},
		"xz nocheck": {unpack.XZ, xzed(t, want, xz.WriterConfig{NoCheckSum: true})},
		"xz blocks":  {unpack.XZ, xzed(t, want, xz.WriterConfig{BlockSize: 10 << 10, DictCap: 1 << 16})},
	} {
		for reader, src := range map[string]io.Reader{
			"plain": bytes.NewReader(c.data), "halves": iotest.HalfReader(bytes.NewReader(c.data)),
			"data with EOF": iotest.DataErrReader(bytes.NewReader(c.data)),
		} {
			got, err := read(src, c.codec, upTo(int64(len(want))))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s: got %d bytes, %v, want %d", name, reader, len(got), err, len(want))
			}
		}
	}
	if got, err := read(bytes.NewReader(xzed(t, nil, xz.WriterConfig{})), unpack.XZ, upTo(0)); err != nil || len(got) != 0 {
		t.Errorf("an empty xz stream: got %d bytes, %v", len(got), err)
	}
}

func TestDamageIsFound(t *testing.T) {
	t.Parallel()

	for _, c := range []struct {
		codec unpack.Codec
		data  []byte
	}{{unpack.Gzip, gzipped(t, content())}, {unpack.XZ, xzed(t, content(), xz.WriterConfig{BlockSize: 64 << 10})}} {
		for _, keep := range []int{0, 1, 5, 12, 20, len(c.data) / 2, len(c.data) - 30, len(c.data) - 9, len(c.data) - 1} {
			if _, err := read(bytes.NewReader(c.data[:keep]), c.codec, upTo(1<<30)); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s cut to %d bytes: got %v, want an Invalid fault", c.codec, keep, err)
			}
		}
		for _, flip := range []int{0, 3, len(c.data) / 2, len(c.data) - 40, len(c.data) - 13, len(c.data) - 6, len(c.data) - 2} {
			b := bytes.Clone(c.data)
			b[flip] ^= 0x10
			if _, err := read(bytes.NewReader(b), c.codec, upTo(1<<30)); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s with byte %d changed: got %v, want an Invalid fault", c.codec, flip, err)
			}
		}
		for name, more := range map[string][]byte{"a second stream": c.data, "a byte": {0}, "padding": {0, 0, 0, 0}} {
			if _, err := read(bytes.NewReader(append(bytes.Clone(c.data), more...)), c.codec, upTo(1<<30)); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s followed by %s: got %v, want an Invalid fault", c.codec, name, err)
			}
		}
	}
}

// zeroes is an endless source.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBombs(t *testing.T) {
	t.Parallel()

	var bomb bytes.Buffer
	w, err := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeroes{}, 300<<20); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	count := func(l unpack.Limits) (int64, error) {
		r, err := unpack.NewReader(bytes.NewReader(bomb.Bytes()), unpack.Gzip, l)
		if err != nil {
			t.Fatal(err)
		}
		return io.Copy(io.Discard, r)
	}
	if n, err := count(upTo(1 << 20)); !errors.Is(err, errOver) || n > 1<<20 {
		t.Errorf("bytes: %d came out, %v, want the limit's error within 1 MiB", n, err)
	}
	if n, err := count(upTo(1 << 40)); !fault.Is(err, fault.Invalid) || n > 257<<20 {
		t.Errorf("ratio: %d came out, %v, want an Invalid fault after 256 MiB", n, err)
	}
	n, err := io.Copy(io.Discard, must(unpack.NewReader(zeroes{}, unpack.None, upTo(1<<20))))
	if !errors.Is(err, errOver) || n > 1<<20 {
		t.Errorf("an endless stream: %d came out, %v, want the limit's error", n, err)
	}
}

func must(r io.Reader, err error) io.Reader {
	if err != nil {
		return iotest.ErrReader(err)
	}
	return r
}

// block is an xz block header that asks for a dictionary.
func block(dict byte, filter byte) []byte {
	h := []byte{2, 0, filter, 1, dict, 0, 0, 0}
	return binary.LittleEndian.AppendUint32(h, crc32.ChecksumIEEE(h))
}

func sum64(b byte) []byte {
	return binary.LittleEndian.AppendUint64(nil, crc64.Checksum([]byte{b}, crc64.MakeTable(crc64.ECMA)))
}

func TestXZDictionaries(t *testing.T) {
	t.Parallel()

	head := xzed(t, nil, xz.WriterConfig{})[:12]
	for name, c := range map[string]struct {
		block []byte
		want  string
	}{
		"4 GiB":      {block(40, 0x21), "dictionary"},
		"96 MiB":     {block(29, 0x21), "dictionary"},
		"impossible": {block(41, 0x21), "damaged"},
		"BCJ x86":    {block(20, 0x04), "filter"},
	} {
		_, err := read(bytes.NewReader(append(bytes.Clone(head), c.block...)), unpack.XZ, upTo(1<<30))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an Invalid fault about %q", name, err, c.want)
		}
	}

	// Tiny blocks with 64 MiB each: LZMA2 data of one literal byte.
	stream := bytes.Clone(head)
	for range 40 {
		b := append(block(28, 0x21), 1, 0, 0, 'x', 0) // one uncompressed chunk of a byte, the end
		b = append(b, make([]byte, 3)...)             // padding
		stream = append(stream, append(b, sum64('x')...)...)
	}
	_, err := read(bytes.NewReader(stream), unpack.XZ, upTo(1<<30))
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "small blocks") {
		t.Errorf("many dictionaries: got %v, want an Invalid fault about small blocks", err)
	}
}

func TestErrorsOfTheSourceComeThrough(t *testing.T) {
	t.Parallel()

	broken := errors.New("connection reset")
	for codec, data := range map[unpack.Codec][]byte{
		unpack.None: content(), unpack.Gzip: gzipped(t, content()), unpack.XZ: xzed(t, content(), xz.WriterConfig{}),
	} {
		for _, n := range []int{0, 3, len(data) / 2} {
			src := io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken))
			if _, err := read(src, codec, upTo(1<<30)); !errors.Is(err, broken) {
				t.Errorf("%q after %d bytes: got %v, want the source's error", codec, n, err)
			}
		}
	}
}
