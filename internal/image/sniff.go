package image

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/qcow2"
)

// format of what was fetched.
type format string

const (
	qcow2Format format = "qcow2"
	rawFormat   format = "raw"
)

// foreign lists what is mistaken for a disk image, or could be passed off as
// one, by its first bytes.
var foreign = []struct {
	at    int
	magic string
	what  string
}{
	{0, "#!", "a script"},
	{0, "\x7fELF", "a program"},
	{0, "MZ", "a Windows program"},
	{0, "KDMV", "a VMDK image"},
	{0, "COWD", "a VMDK image"},
	{0, "# Disk DescriptorFile", "a VMDK image"},
	{0x40, "\x7f\x10\xda\xbe", "a VDI image"},
	{0, "vhdxfile", "a VHDX image"},
	{0, "conectix", "a VHD image"},
	{0, "QED\x00", "a QED image"},
	{0, "WithoutFreeSpace", "a Parallels image"},
	{0, "WithouFreSpacExt", "a Parallels image"},
	{0, "LUKS\xba\xbe", "an encrypted disk"},
	{0, "\x1f\x8b", "a gzip file"},
	{0, "\xfd7zXZ\x00", "an xz file"},
	{0, "\x28\xb5\x2f\xfd", "a zstd file"},
	{0, "BZh", "a bzip2 file"},
	{0, "PK\x03\x04", "a zip file"},
	{0, "7z\xbc\xaf\x27\x1c", "a 7z file"},
	{257, "ustar", "a tar file"},
	{0, "hsqs", "a squashfs file system"},
}

// sniff decides from its first bytes what an image is. It returns an Invalid
// fault unless that is a bootable disk of the format that the URL promised.
func sniff(head []byte, promised format) (format, error) {
	if bytes.HasPrefix(head, []byte(qcow2.Magic)) {
		if promised == rawFormat {
			return "", fault.New(fault.Invalid, "the image's address ends in .raw, but it is a qcow2 image")
		}
		return qcow2Format, nil
	}
	for _, f := range foreign {
		if len(head) > f.at && bytes.HasPrefix(head[f.at:], []byte(f.magic)) {
			return "", fault.Newf(fault.Invalid, "this is %s, not a raw or qcow2 disk image", f.what)
		}
	}
	if text := bytes.TrimLeft(head, "\xef\xbb\xbf \t\r\n"); len(text) > 0 && text[0] == '<' {
		return "", fault.New(fault.Invalid, "this is a web page, not a disk image")
	}
	if promised == qcow2Format {
		return "", fault.New(fault.Invalid, "the image's address ends in .qcow2, but it is not a qcow2 image")
	}
	if !hasBootSector(head) && !hasGPT(head) {
		return "", fault.New(fault.Invalid, "this is not a bootable disk: it has neither a boot sector nor a partition table")
	}
	return rawFormat, nil
}

const sector = 512

func hasBootSector(head []byte) bool {
	return len(head) >= sector && head[510] == 0x55 && head[511] == 0xaa
}

func hasGPT(head []byte) bool {
	return len(head) >= 2*sector && string(head[sector:sector+8]) == "EFI PART"
}

// checkWhole looks whether a raw disk of size bytes holds all that its
// partition table speaks of. Nothing else tells that the end is missing.
func checkWhole(r io.ReaderAt, size int64) error {
	head := make([]byte, 2*sector)
	if _, err := r.ReadAt(head, 0); err != nil || size%sector != 0 {
		return fault.New(fault.Invalid, "the image is cut off: it ends within a sector, or before its partition table does")
	}
	end := uint64(0) // the sector after the last one that is spoken of
	if hasBootSector(head) {
		for p := 446; p < 510; p += 16 {
			if kind := head[p+4]; kind == 0 || kind == 0xee || head[p]&0x7f != 0 {
				continue // unused, a stand-in for a GPT, or boot code of a disk without partitions
			}
			end = max(end, uint64(binary.LittleEndian.Uint32(head[p+8:]))+uint64(binary.LittleEndian.Uint32(head[p+12:])))
		}
	}
	if hasGPT(head) { // it says where its backup lies, which is the last sector
		end = max(end, min(binary.LittleEndian.Uint64(head[sector+32:]), math.MaxInt64)+1)
	}
	if end > uint64(size/sector) {
		return fault.New(fault.Invalid, "the image is cut off: its partition table reaches beyond its end")
	}
	return nil
}
