package unpack_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/ulikunitz/xz"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/unpack"
)

// What no input may cost: dictionaries of 64 MiB are allowed, and so many of them
// as slack and share let be; time follows what comes out.
const (
	mostOut    = 1 << 20
	mostMemory = 3 << 30 // allocated in all, not at once
	mostHeap   = 256 << 20
	mostTime   = 20 * time.Second
)

// bounded decompresses data and checks what it cost, and that no more came out
// than may.
func bounded(t *testing.T, data []byte, c unpack.Codec) ([]byte, error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	got, err := read(bytes.NewReader(data), c, upTo(mostOut))
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > mostMemory {
		t.Errorf("%d bytes were allocated", n)
	}
	if after.HeapAlloc > before.HeapAlloc+mostHeap {
		t.Errorf("the heap grew from %d to %d bytes", before.HeapAlloc, after.HeapAlloc)
	}
	if took > mostTime {
		t.Errorf("it took %v", took)
	}
	if len(got) > mostOut {
		t.Errorf("%d bytes came out, at most %d may", len(got), mostOut)
	}
	if err != nil && !fault.Is(err, fault.Invalid) && !errors.Is(err, errOver) {
		t.Errorf("got %v, want an Invalid fault", err)
	}
	return got, err
}

// agree compares what was accepted with what a library makes of it.
func agree(t *testing.T, got []byte, r io.Reader, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("the library refuses it: %v", err)
	}
	want, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, the library %d, %v", len(got), len(want), err)
	}
}

func FuzzXZ(f *testing.F) {
	f.Add(xzed(f, []byte("hello, disk"), xz.WriterConfig{}))
	f.Add(xzed(f, bytes.Repeat([]byte("block"), 4000), xz.WriterConfig{BlockSize: 5000, DictCap: 4096}))
	f.Add(xzed(f, nil, xz.WriterConfig{CheckSum: xz.SHA256}))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := bounded(t, data, unpack.XZ)
		if err == nil {
			r, err := xz.NewReader(bytes.NewReader(data))
			agree(t, got, r, err)
		}
	})
}

func FuzzGzip(f *testing.F) {
	f.Add(gzipped(f, []byte("hello, disk")))
	f.Add(gzipped(f, bytes.Repeat([]byte("block"), 4000)))
	f.Add(gzipped(f, nil))
	f.Add(append(gzipped(f, []byte("one")), gzipped(f, []byte("two"))...))
	f.Add([]byte("\x1f\x8b\x08\x1e\x00\x00\x00\x00\x00\x03\x05\x00extraname\x00comment\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := bounded(t, data, unpack.Gzip)
		if err == nil {
			r, err := gzip.NewReader(bytes.NewReader(data))
			agree(t, got, r, err)
		}
	})
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("hello, disk"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := bounded(t, data, unpack.None); err == nil && !bytes.Equal(got, data) {
			t.Errorf("%d bytes became %d others", len(data), len(got))
		}
	})
}

// Whatever byte is changed, and wherever a stream ends, the damage is found: no
// length and no place of the format is left out.
func TestEveryDamageIsFound(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte("a disk that compresses, "), 40)
	for c, data := range map[unpack.Codec][]byte{
		unpack.Gzip: gzipped(t, want), unpack.XZ: xzed(t, want, xz.WriterConfig{BlockSize: 400, DictCap: 4096}),
	} {
		for n := range data {
			if _, err := read(bytes.NewReader(data[:n]), c, upTo(mostOut)); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s cut to %d of %d bytes: got %v, want an Invalid fault", c, n, len(data), err)
			}
		}
		for bit := range 8 * len(data) {
			b := bytes.Clone(data)
			b[bit/8] ^= 1 << (bit % 8)
			got, err := read(bytes.NewReader(b), c, upTo(mostOut))
			if err == nil && !bytes.Equal(got, want) || err != nil && !fault.Is(err, fault.Invalid) {
				t.Errorf("%s with bit %d of byte %d changed: %v, and %d bytes", c, bit%8, bit/8, err, len(got))
			}
		}
	}
}

// An index that contradicts its blocks is found though its own checksum is right.
func TestXZIndexHasToAgree(t *testing.T) {
	t.Parallel()
	good := xzed(t, bytes.Repeat([]byte("disk"), 240), xz.WriterConfig{})
	foot := len(good) - 12
	size := (int(binary.LittleEndian.Uint32(good[foot+4:])) + 1) * 4
	for at := range size - 4 {
		b := bytes.Clone(good)
		index := b[foot-size : foot]
		index[at] ^= 1
		binary.LittleEndian.PutUint32(index[size-4:], crc32.ChecksumIEEE(index[:size-4]))
		if _, err := read(bytes.NewReader(b), unpack.XZ, upTo(mostOut)); !fault.Is(err, fault.Invalid) {
			t.Errorf("byte %d of the index changed: got %v, want an Invalid fault", at, err)
		}
	}
}
