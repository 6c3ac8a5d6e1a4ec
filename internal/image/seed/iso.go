package seed

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"time"
)

// A volume of ISO 9660 (ECMA-119) with one folder of short files. The
// standard's own names hold neither lower case nor "-", which are in all names
// that cloud-init looks for, so that each file has its real name as a Rock
// Ridge (RRIP 1.09) entry as well; Linux and the BSDs read these.

const (
	sectorSize    = 2048
	primarySector = 16 // the sectors before it are for boot code
	endSector     = 17
	pathLSector   = 18 // path table, little-endian
	pathMSector   = 19 // path table, big-endian
	rootSector    = 20 // the folder; files follow

	// Programs that look for file systems read the first 68 KiB of a disk at
	// once to find the superblock of any of them, and busybox takes one that is
	// shorter for none at all. The volume is filled up to twice that.
	leastSectors = 64
)

// isoFile is a file of the volume.
type isoFile struct {
	name   string // such as "user-data"
	text   []byte
	sector int
}

// isoName is the name that the standard itself allows.
func (f isoFile) isoName() string {
	return strings.ToUpper(strings.ReplaceAll(f.name, "-", "_"))[:8] + ".;1"
}

// writeISO writes a volume called label, made at the time at. The files must
// differ in the first eight characters of their names and fit one folder
// sector.
func writeISO(w io.Writer, label string, at time.Time, files []isoFile) error {
	files = slices.SortedFunc(slices.Values(files), func(a, b isoFile) int {
		return strings.Compare(a.isoName(), b.isoName())
	})
	next := rootSector + 1
	for i := range files {
		files[i].sector = next
		next += (len(files[i].text) + sectorSize - 1) / sectorSize
	}
	next = max(next, leastSectors)
	image := make([]byte, next*sectorSize)
	sector := func(n int) []byte { return image[n*sectorSize:] }

	copy(sector(primarySector), primary(label, at, next))
	copy(sector(endSector), "\xffCD001\x01")
	copy(sector(pathLSector), pathTable(binary.LittleEndian))
	copy(sector(pathMSector), pathTable(binary.BigEndian))
	copy(sector(rootSector), folder(at, files))
	for _, f := range files {
		copy(sector(f.sector), f.text)
	}
	_, err := w.Write(image)
	return err
}

// primary is the primary volume descriptor.
func primary(label string, at time.Time, sectors int) []byte {
	var b bytes.Buffer
	b.WriteString("\x01CD001\x01\x00")
	b.Write(spaces("LINUX", 32))
	b.Write(spaces(label, 32))
	b.Write(make([]byte, 8))
	b.Write(both32(sectors))
	b.Write(make([]byte, 32))
	b.Write(both16(1)) // volumes in the set
	b.Write(both16(1)) // number of this one
	b.Write(both16(sectorSize))
	b.Write(both32(len(pathTable(binary.LittleEndian))))
	b.Write(binary.LittleEndian.AppendUint32(nil, pathLSector))
	b.Write(make([]byte, 4))
	b.Write(binary.BigEndian.AppendUint32(nil, pathMSector))
	b.Write(make([]byte, 4))
	b.Write(record("\x00", at, rootSector, sectorSize, nil))
	b.Write(spaces("", 4*128)) // volume set, publisher, preparer, application
	b.Write(spaces("", 3*37))  // copyright, abstract, bibliography
	b.Write(longTime(at))      // created
	b.Write(longTime(at))      // changed
	b.Write(longTime(time.Time{}))
	b.Write(longTime(time.Time{}))
	b.WriteByte(1)
	return b.Bytes()
}

// pathTable lists the one folder.
func pathTable(order binary.AppendByteOrder) []byte {
	t := order.AppendUint32([]byte{1, 0}, rootSector)
	return append(order.AppendUint16(t, 1), 0, 0)
}

// folder is the content of the root folder.
func folder(at time.Time, files []isoFile) []byte {
	const dir, file = 0o040555, 0o100444
	self := slices.Concat(
		[]byte{'S', 'P', 7, 1, 0xbe, 0xef, 0},
		permissions(dir),
		[]byte{'E', 'R', 18, 1, 10, 0, 0, 1}, []byte("RRIP_1991A"),
	)
	d := slices.Concat(
		record("\x00", at, rootSector, sectorSize, self),
		record("\x01", at, rootSector, sectorSize, permissions(dir)),
	)
	for _, f := range files {
		name := append([]byte{'N', 'M', byte(5 + len(f.name)), 1, 0}, f.name...)
		d = append(d, record(f.isoName(), at, f.sector, len(f.text), append(permissions(file), name...))...)
	}
	return d
}

// permissions is a Rock Ridge entry: mode, links, user 0, group 0.
func permissions(mode int) []byte {
	return slices.Concat([]byte{'P', 'X', 36, 1}, both32(mode), both32(1), both32(0), both32(0))
}

// record is the entry of a file or folder; the names of folders are one byte.
func record(name string, at time.Time, sector, size int, rockRidge []byte) []byte {
	flags := byte(0)
	if len(name) == 1 {
		flags = 2
	}
	at = at.UTC()
	b := slices.Concat(
		[]byte{0, 0}, both32(sector), both32(size),
		[]byte{
			byte(at.Year() - 1900), byte(at.Month()), byte(at.Day()),
			byte(at.Hour()), byte(at.Minute()), byte(at.Second()), 0,
		},
		[]byte{flags, 0, 0}, both16(1), []byte{byte(len(name))}, []byte(name),
	)
	if len(b)%2 != 0 {
		b = append(b, 0)
	}
	b = append(b, rockRidge...)
	if len(b)%2 != 0 {
		b = append(b, 0)
	}
	b[0] = byte(len(b))
	return b
}

// longTime is a time as the volume descriptor has it.
func longTime(t time.Time) []byte {
	if t.IsZero() {
		return []byte("0000000000000000\x00")
	}
	return []byte(t.UTC().Format("20060102150405") + "00\x00")
}

func spaces(s string, n int) []byte { return []byte(s + strings.Repeat(" ", n-len(s))) }

func both16(n int) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, uint16(n)), uint16(n))
}

func both32(n int) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(n)), uint32(n))
}
