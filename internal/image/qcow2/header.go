// Package qcow2 reads qcow2 disk images that somebody uploaded who isn't
// trusted. It opens nothing but the reader it is given, knows an allow-list of
// features, and checks every offset, so that a hostile image costs an error.
//
// The format: https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt
package qcow2

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Magic is what every qcow2 file begins with.
const Magic = "QFI\xfb"

// HeaderBytes is how much of a file Parse looks at, at most.
const HeaderBytes = 64 << 10

const (
	minClusterBits = 9
	maxClusterBits = 21
	maxVirtual     = 16 << 40 // 16 TiB: beyond it, no server has such a disk
	maxL1          = 32 << 20 // bytes; the limit of QEMU

	sizeV2 = 72
	sizeV3 = 104

	compressionBit = 1 << 3 // of the incompatible features: the compression type is not zlib
	lazyRefcounts  = 1 << 0 // of the compatible features

	extEnd          = 0
	extFeatureNames = 0x6803f857
)

// Header is what the head of an image says that passed all checks.
type Header struct {
	Version      uint32
	VirtualBytes int64
	clusterBits  uint
	zstd         bool // compressed clusters are zstd, not deflate
	l1Offset     uint64
	l1Entries    uint64
	refOffset    uint64
	refClusters  uint64
}

// raw is the head as it lies in the file.
type raw struct {
	Magic, Version                          uint32
	BackingOffset                           uint64
	BackingSize, ClusterBits                uint32
	Size                                    uint64
	Crypt, L1Size                           uint32
	L1Offset, RefOffset                     uint64
	RefClusters, Snapshots                  uint32
	SnapshotsOffset                         uint64
	Incompatible, Compatible, Autoclear     uint64 // from here on: version 3
	RefcountOrder, HeaderLength             uint32
	Compression, Padding1, Padding2, Unused uint8 // only if HeaderLength says so
}

// Parse reads the head of an image, of which r needs to hold the first
// HeaderBytes or all. It returns an Invalid fault for an image that a VM must
// not be given.
func Parse(r io.ReaderAt) (Header, error) {
	buf := make([]byte, HeaderBytes)
	n, err := r.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Header{}, err
	}
	if buf = buf[:n]; len(buf) < sizeV2 || string(buf[:4]) != Magic {
		return Header{}, fault.New(fault.Invalid, "the image is not a qcow2 disk")
	}
	h, length, err := decode(buf)
	if err != nil {
		return Header{}, err
	}
	if err := h.refuse(); err != nil {
		return Header{}, err
	}
	if err := checkExtensions(buf[:min(len(buf), 1<<h.ClusterBits)], length); err != nil {
		return Header{}, err
	}
	return h.header()
}

// decode reads the fields and returns the length of the header.
func decode(buf []byte) (raw, int, error) {
	var h raw
	full := make([]byte, binary.Size(h))
	copy(full, buf[:sizeV2])
	version := binary.BigEndian.Uint32(buf[4:])
	length := sizeV2
	switch {
	case version == 2:
	case version == 3 && len(buf) >= sizeV3:
		length = int(binary.BigEndian.Uint32(buf[100:]))
		if length < sizeV3 || length%8 != 0 || length > len(buf) {
			return h, 0, fault.Newf(fault.Invalid, "the qcow2 image has a header of %d bytes, which can't be", length)
		}
		copy(full, buf[:length])
	default:
		return h, 0, fault.Newf(fault.Invalid, "the qcow2 image has version %d; versions 2 and 3 are supported", version)
	}
	_, err := binary.Decode(full, binary.BigEndian, &h)
	return h, length, err
}

// refuse returns a fault for the first thing in h that is not on the list.
func (h *raw) refuse() error {
	refusals := []struct {
		bad  bool
		text string
	}{
		{h.BackingOffset != 0 || h.BackingSize != 0, "the qcow2 image needs a backing file; make it whole with qemu-img convert"},
		{h.Crypt != 0, "the qcow2 image is encrypted, which is not supported"},
		{h.Snapshots != 0, "the qcow2 image holds snapshots; remove them with qemu-img convert"},
		{h.Incompatible&1 != 0, "the qcow2 image was not closed properly; repair it with qemu-img check -r all"},
		{h.Incompatible&2 != 0, "the qcow2 image is marked as corrupt"},
		{h.Incompatible&4 != 0, "the qcow2 image keeps its data in another file; make it whole with qemu-img convert"},
		{h.Incompatible&^compressionBit != 0, "the qcow2 image uses a feature that is not supported"},
		{h.Compatible&^lazyRefcounts != 0, "the qcow2 image uses a compatible feature that is not known"},
		{h.Autoclear != 0, "the qcow2 image holds bitmaps; remove them with qemu-img convert"},
		{h.Version == 3 && h.RefcountOrder > 6, "the qcow2 image has an impossible refcount width"},
		{h.Compression > 1, "the qcow2 image uses an unknown compression"},
		{(h.Compression != 0) != (h.Incompatible&compressionBit != 0), "the qcow2 image contradicts itself about its compression"},
		{h.ClusterBits < minClusterBits || h.ClusterBits > maxClusterBits, "the qcow2 image has an impossible cluster size"},
		{h.Size == 0, "the qcow2 image is a disk of size zero"},
		{h.Size > maxVirtual, "the qcow2 image is a disk of more than 16 TiB"},
		{h.Size%512 != 0, "the qcow2 image's disk is not a whole number of sectors"},
	}
	for _, r := range refusals {
		if r.bad {
			return fault.New(fault.Invalid, r.text)
		}
	}
	return nil
}

// header checks where the tables lie and how large they are.
func (h *raw) header() (Header, error) {
	cluster := uint64(1) << h.ClusterBits
	perTable := cluster * (cluster / 8) // bytes of disk under one entry of L1
	need := (h.Size + perTable - 1) / perTable
	entries := uint64(h.L1Size)
	switch {
	case entries < need || entries*8 > maxL1:
		return Header{}, fault.New(fault.Invalid, "the qcow2 image's L1 table does not fit its disk")
	case h.L1Offset == 0 || h.L1Offset%cluster != 0 || h.RefOffset == 0 || h.RefOffset%cluster != 0:
		return Header{}, fault.New(fault.Invalid, "the qcow2 image's tables don't lie on clusters")
	case h.RefClusters == 0 || uint64(h.RefClusters) > max(1, (8<<20)/cluster):
		return Header{}, fault.New(fault.Invalid, "the qcow2 image's refcount table has an impossible size")
	}
	return Header{
		Version: h.Version, VirtualBytes: int64(h.Size), clusterBits: uint(h.ClusterBits), zstd: h.Compression == 1,
		l1Offset: h.L1Offset, l1Entries: need, refOffset: h.RefOffset, refClusters: uint64(h.RefClusters),
	}, nil
}

// checkExtensions walks through the header extensions in head, the first
// cluster, from at on.
func checkExtensions(head []byte, at int) error {
	for at+8 <= len(head) {
		kind, size := binary.BigEndian.Uint32(head[at:]), binary.BigEndian.Uint32(head[at+4:])
		switch kind {
		case extEnd:
			return nil
		case extFeatureNames:
		default:
			return fault.Newf(fault.Invalid, "the qcow2 image has a header extension that is not supported (%#08x)", kind)
		}
		if size > HeaderBytes {
			break
		}
		at += 8 + (int(size)+7)&^7
	}
	if at == len(head) {
		return nil // a header that fills its cluster
	}
	return fault.New(fault.Invalid, "the qcow2 image's header extensions have no end")
}
