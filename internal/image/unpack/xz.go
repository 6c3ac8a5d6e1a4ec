package unpack

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// The reader of whole .xz files in ulikunitz/xz allocates the dictionary that
// the file asks for, up to 4 GiB and anew for each block. So the container
// (https://tukaani.org/xz/xz-file-format.txt) is read here, one stream of
// LZMA2 blocks, and only the LZMA2 data by the library.

const (
	maxDict = 64 << 20 // what xz -9 uses
	// Allocating a dictionary costs time even if the block is tiny, so that
	// the sum over all blocks is kept in proportion to what comes out.
	dictSlack = 2 << 30
	dictShare = 8
)

var errXZ = errors.New("damaged xz data")

// record is what the index repeats about each block.
type record struct{ unpadded, size uint64 }

// xzReader reads one xz stream.
type xzReader struct {
	in     *tally
	flags  [2]byte
	block  *xzBlock
	blocks []record
	dicts  uint64 // sum of the dictionaries so far
	out    uint64
}

// xzBlock is the block that is being read.
type xzBlock struct {
	lzma         io.Reader
	check        hash.Hash // nil for none
	start        uint64    // where in the stream the block begins
	data         uint64    // where its compressed data begins
	size         uint64    // decompressed so far
	wantData     uint64    // size fields of the header
	wantSize     uint64
	hasData, has bool
}

func newXZ(r *bufio.Reader) (io.Reader, error) {
	x := &xzReader{in: &tally{r: r}}
	h := make([]byte, 12)
	if _, err := io.ReadFull(x.in, h); err != nil {
		return nil, err
	}
	if !bytes.Equal(h[:6], []byte("\xfd7zXZ\x00")) || !crcMatches(h[6:8], h[8:]) {
		return nil, errXZ
	}
	x.flags = [2]byte(h[6:8])
	_, err := x.newCheck()
	return x, err
}

// newCheck returns the hash that the stream protects its blocks with.
func (x *xzReader) newCheck() (hash.Hash, error) {
	switch x.flags {
	case [2]byte{0, 0}:
		return nil, nil //nolint:nilnil // no check is a valid choice of the stream
	case [2]byte{0, 1}:
		return crc32.NewIEEE(), nil
	case [2]byte{0, 4}:
		return crc64.New(crc64.MakeTable(crc64.ECMA)), nil
	case [2]byte{0, 10}:
		return sha256.New(), nil
	}
	return nil, fault.New(fault.Invalid, "the image's xz data uses an unknown checksum")
}

// Read implements io.Reader.
func (x *xzReader) Read(p []byte) (int, error) {
	for {
		if x.block == nil {
			if err := x.nextBlock(); err != nil {
				return 0, err // io.EOF after a proper end
			}
		}
		n, err := x.block.lzma.Read(p)
		x.block.add(p[:n])
		x.out += uint64(n)
		if errors.Is(err, io.EOF) {
			err = x.endBlock()
		}
		if n > 0 || err != nil {
			return n, noEOF(err)
		}
	}
}

// nextBlock starts the next block. At the index it returns io.EOF if all ends
// as it should.
func (x *xzReader) nextBlock() error {
	start := x.in.n
	first, err := x.in.ReadByte()
	if err != nil {
		return noEOF(err)
	}
	if first == 0 {
		return x.endStream(start)
	}
	h := make([]byte, (int(first)+1)*4)
	h[0] = first
	if _, err := io.ReadFull(x.in, h[1:]); err != nil {
		return noEOF(err)
	}
	if n := len(h) - 4; !crcMatches(h[:n], h[n:]) {
		return errXZ
	}
	b, dict, err := parseBlock(h[1 : len(h)-4])
	if err != nil {
		return err
	}
	if x.dicts += dict; x.dicts > dictSlack+dictShare*x.out {
		return fault.New(fault.Invalid, "the image's xz data has too many small blocks")
	}
	if b.check, err = x.newCheck(); err != nil {
		return err
	}
	b.start, b.data = start, x.in.n
	if b.lzma, err = (lzma.Reader2Config{DictCap: int(dict)}).NewReader2(x.in); err != nil {
		return err
	}
	x.block = b
	return nil
}

// parseBlock reads a block header between its length and its checksum.
func parseBlock(h []byte) (*xzBlock, uint64, error) {
	b := &xzBlock{}
	r := bytes.NewReader(h)
	flags, _ := r.ReadByte()
	b.hasData, b.has = flags&0x40 != 0, flags&0x80 != 0
	var err error
	if b.hasData {
		b.wantData, err = binary.ReadUvarint(r)
	}
	if b.has && err == nil {
		b.wantSize, err = binary.ReadUvarint(r)
	}
	if err != nil || flags&0x3c != 0 {
		return nil, 0, errXZ
	}
	filter := make([]byte, 3)
	if _, err := io.ReadFull(r, filter); err != nil {
		return nil, 0, errXZ
	}
	if flags&3 != 0 || filter[0] != 0x21 || filter[1] != 1 {
		return nil, 0, fault.New(fault.Invalid, "the image's xz data uses a filter other than LZMA2")
	}
	dict, err := lzma.DecodeDictCap(filter[2])
	if err != nil {
		return nil, 0, errXZ
	}
	if dict > maxDict {
		return nil, 0, fault.Newf(fault.Invalid, "the image's xz data needs a dictionary of %d MiB, %d MiB is the most", dict>>20, maxDict>>20)
	}
	return b, uint64(max(dict, lzma.MinDictCap)), nil
}

// add takes note of decompressed bytes.
func (b *xzBlock) add(p []byte) {
	b.size += uint64(len(p))
	if b.check != nil {
		b.check.Write(p)
	}
}

// endBlock verifies what follows the compressed data of a block.
func (x *xzReader) endBlock() error {
	b := x.block
	x.block = nil
	data := x.in.n - b.data
	if b.hasData && data != b.wantData || b.has && b.size != b.wantSize {
		return errXZ
	}
	if err := x.padding(data); err != nil {
		return err
	}
	sum := uint64(0)
	if b.check != nil {
		got := make([]byte, b.check.Size())
		if _, err := io.ReadFull(x.in, got); err != nil {
			return noEOF(err)
		}
		if want := b.check.Sum(nil); !bytes.Equal(got, x.order(want)) {
			return fault.New(fault.Invalid, "the image's xz data is damaged: a checksum is wrong")
		}
		sum = uint64(len(got))
	}
	x.blocks = append(x.blocks, record{b.data - b.start + data + sum, b.size})
	return nil
}

// order turns a sum into the byte order of the file: CRCs are little-endian.
func (x *xzReader) order(sum []byte) []byte {
	if x.flags[1] == 10 {
		return sum
	}
	for i, j := 0, len(sum)-1; i < j; i, j = i+1, j-1 {
		sum[i], sum[j] = sum[j], sum[i]
	}
	return sum
}

// endStream reads the index, whose first byte is read, and the footer. It
// returns io.EOF when both agree with the blocks and nothing follows.
func (x *xzReader) endStream(start uint64) error {
	x.in.summing, x.in.crc = true, crc32.ChecksumIEEE([]byte{0})
	if n, err := binary.ReadUvarint(x.in); err != nil || n != uint64(len(x.blocks)) {
		return damaged(err)
	}
	for _, want := range x.blocks {
		unpadded, err := binary.ReadUvarint(x.in)
		if err != nil {
			return damaged(err)
		}
		size, err := binary.ReadUvarint(x.in)
		if err != nil || (record{unpadded, size}) != want {
			return damaged(err)
		}
	}
	if err := x.padding(x.in.n - start); err != nil {
		return err
	}
	sum, length := x.in.crc, x.in.n-start
	tail := make([]byte, 4+12)
	if _, err := io.ReadFull(x.in, tail); err != nil {
		return noEOF(err)
	}
	foot := tail[4:]
	if binary.LittleEndian.Uint32(tail) != sum || !crcMatches(foot[4:10], foot[:4]) ||
		(uint64(binary.LittleEndian.Uint32(foot[4:]))+1)*4 != length+4 ||
		[2]byte(foot[8:10]) != x.flags || string(foot[10:]) != "YZ" {
		return errXZ
	}
	return end(x.in)
}

// padding reads the zeros that bring a part of n bytes to a multiple of four.
func (x *xzReader) padding(n uint64) error {
	for ; n%4 != 0; n++ {
		if c, err := x.in.ReadByte(); err != nil || c != 0 {
			return damaged(err)
		}
	}
	return nil
}

// tally counts what is read, and sums it while it is told to. It reads no
// further than it is asked.
type tally struct {
	r       *bufio.Reader
	n       uint64
	summing bool
	crc     uint32
}

// Read implements io.Reader.
func (t *tally) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n += uint64(n)
	if t.summing {
		t.crc = crc32.Update(t.crc, crc32.IEEETable, p[:n])
	}
	return n, err
}

// ReadByte implements io.ByteReader.
func (t *tally) ReadByte() (byte, error) {
	var c [1]byte
	_, err := io.ReadFull(t, c[:])
	return c[0], err
}

func crcMatches(data, sum []byte) bool {
	return crc32.ChecksumIEEE(data) == binary.LittleEndian.Uint32(sum)
}

// noEOF turns the end of the source in the middle of something into what it is.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func damaged(err error) error {
	if err == nil {
		return errXZ
	}
	return noEOF(err)
}
