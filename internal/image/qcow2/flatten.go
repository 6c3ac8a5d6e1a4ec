package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/cpucloud/cpucloud/internal/fault"
)

const (
	offsetMask = 0x00fffffffffffe00 // of L1 entries and standard L2 entries
	compressed = 1 << 62            // of an L2 entry
	zeroes     = 1 << 0             // of a standard L2 entry: reads as zeroes, whatever the offset

	// What an image may expand to: no cluster lies at two places of a disk, and
	// Deflate makes nothing smaller than a thousandth.
	slack    = 256 << 20
	maxRatio = 1100
	// leastCost is what reading a cluster counts for, however small it is: finding
	// and decompressing it costs as much.
	leastCost = 16 << 10
	// maxWindow is what a zstd frame may ask for; QEMU's take 2 MiB.
	maxWindow = 8 << 20
)

// Source is an image to flatten.
type Source struct {
	R      io.ReaderAt
	Size   int64 // of the file
	Header Header
}

// Flatten writes the disk in src to dst as it looks from inside a VM: every
// cluster with data at its place, in rising order, and nothing where the disk
// is empty. It calls progress, which may be nil, with the position now and
// then. It returns an Invalid fault when the image is damaged, or cut off.
func Flatten(ctx context.Context, src Source, dst io.WriterAt, progress func(int64)) error {
	f, err := newFlattener(src, dst)
	if err != nil {
		return err
	}
	defer f.zstd.Close()
	if progress == nil {
		progress = func(int64) {}
	}
	l1, err := f.table(src.Header.l1Offset, src.Header.l1Entries)
	if err != nil {
		return err
	}
	span := int64(f.cluster) * int64(f.cluster/8)
	for i, entry := range l1 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.flattenTable(ctx, entry&offsetMask, int64(i)*span); err != nil {
			return err
		}
		progress(min(int64(i+1)*span, src.Header.VirtualBytes))
	}
	return nil
}

type flattener struct {
	src     Source
	dst     io.WriterAt
	cluster uint64
	left    int64  // that may still come out
	in, out []byte // one cluster each; in has room for what a compressed one may take
	flate   io.ReadCloser
	zstd    *zstd.Decoder
}

func newFlattener(src Source, dst io.WriterAt) (*flattener, error) {
	h := src.Header
	cluster := uint64(1) << h.clusterBits
	f := &flattener{
		src: src, dst: dst, cluster: cluster, left: slack + maxRatio*min(src.Size, maxVirtual),
		in: make([]byte, 2*cluster+1024), out: make([]byte, cluster),
		flate: flate.NewReader(bytes.NewReader(nil)),
	}
	if !f.inside(h.refOffset, h.refClusters*cluster) {
		return nil, cutOff()
	}
	var err error
	f.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	return f, err
}

// inside reports whether n bytes from offset on lie in the file.
func (f *flattener) inside(offset, n uint64) bool {
	return offset <= math.MaxInt64 && n <= uint64(f.src.Size) && offset <= uint64(f.src.Size)-n
}

// table reads a table of n entries.
func (f *flattener) table(offset, n uint64) ([]uint64, error) {
	if !f.inside(offset, n*8) {
		return nil, cutOff()
	}
	buf := make([]byte, n*8)
	if _, err := f.src.R.ReadAt(buf, int64(offset)); err != nil {
		return nil, fmt.Errorf("read qcow2 table: %w", err)
	}
	t := make([]uint64, n)
	for i := range t {
		t[i] = binary.BigEndian.Uint64(buf[i*8:])
	}
	return t, nil
}

// flattenTable writes the clusters of the L2 table at offset, the first of
// which belongs to position at of the disk.
func (f *flattener) flattenTable(ctx context.Context, offset uint64, at int64) error {
	if offset == 0 {
		return nil
	}
	if offset%f.cluster != 0 {
		return misplaced()
	}
	l2, err := f.table(offset, f.cluster/8)
	if err != nil {
		return err
	}
	for _, entry := range l2 {
		left := f.src.Header.VirtualBytes - at
		if left <= 0 {
			return nil
		}
		data, err := f.read(entry)
		if err != nil {
			return err
		}
		if data != nil {
			if err := f.spend(ctx, len(data)); err != nil {
				return err
			}
			if _, err := f.dst.WriteAt(data[:min(int64(len(data)), left)], at); err != nil {
				return err
			}
		}
		at += int64(f.cluster)
	}
	return nil
}

// spend counts n bytes that come out of one cluster. Small images in which a few clusters lie all
// over the disk would cost hours otherwise.
func (f *flattener) spend(ctx context.Context, n int) error {
	if f.left -= max(int64(n), leastCost); f.left < 0 {
		return fault.Newf(fault.Invalid, "the qcow2 image expands to more than %d times its size", maxRatio)
	}
	return ctx.Err()
}

// read returns the cluster that an L2 entry stands for, nil for an empty one.
// It is good until the next call.
func (f *flattener) read(entry uint64) ([]byte, error) {
	if entry&compressed != 0 {
		return f.inflate(entry)
	}
	offset := entry & offsetMask
	if offset%f.cluster != 0 {
		return nil, misplaced()
	}
	if offset == 0 || entry&zeroes != 0 {
		return nil, nil
	}
	if !f.inside(offset, 1) {
		return nil, cutOff()
	}
	n, err := f.src.R.ReadAt(f.out, int64(offset))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read qcow2 cluster: %w", err)
	}
	clear(f.out[n:]) // the last cluster of a file may be written in part, and reads as zeroes after it
	return f.out, nil
}

// inflate reads a compressed cluster: a byte offset, and how many sectors
// beyond the first it touches.
func (f *flattener) inflate(entry uint64) ([]byte, error) {
	split := 62 - (f.src.Header.clusterBits - 8)
	offset := entry & (1<<split - 1)
	sectors := entry&(compressed-1)>>split + 1
	if !f.inside(offset, 1) {
		return nil, cutOff()
	}
	size := min(sectors*512-offset%512, uint64(f.src.Size)-offset, uint64(len(f.in)))
	in := f.in[:size]
	if _, err := f.src.R.ReadAt(in, int64(offset)); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read qcow2 cluster: %w", err)
	}
	r, err := f.decompressor(in)
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(r, f.out); err != nil {
		return nil, fault.New(fault.Invalid, "the qcow2 image is damaged: a compressed cluster can't be read")
	}
	return f.out, nil
}

func (f *flattener) decompressor(in []byte) (io.Reader, error) {
	if f.src.Header.zstd {
		return f.zstd, f.zstd.Reset(bytes.NewReader(in))
	}
	return f.flate, f.flate.(flate.Resetter).Reset(bytes.NewReader(in), nil)
}

func cutOff() error {
	return fault.New(fault.Invalid, "the qcow2 image is cut off: parts of it lie beyond its end")
}

func misplaced() error {
	return fault.New(fault.Invalid, "the qcow2 image is damaged: a table or cluster doesn't lie on a cluster")
}
