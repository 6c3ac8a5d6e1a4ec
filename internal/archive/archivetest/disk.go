package archivetest

import "encoding/binary"

// Disk returns a qcow2 file of a disk of so many bytes, at most 512 MiB, that begins with
// text and is otherwise empty. It lies on nothing.
func Disk(bytes uint64, text string) []byte {
	const cluster = 64 << 10 // header, refcount table, refcount block, L1, L2 and one with the text
	file := make([]byte, 6*cluster)
	copy(file, "QFI\xfb")
	be := binary.BigEndian
	be.PutUint32(file[4:], 3)          // version
	be.PutUint32(file[20:], 16)        // bits of a cluster
	be.PutUint64(file[24:], bytes)     // size
	be.PutUint32(file[36:], 1)         // entries of L1
	be.PutUint64(file[40:], 3*cluster) // L1
	be.PutUint64(file[48:], 1*cluster) // refcount table
	be.PutUint32(file[56:], 1)         // clusters of it
	be.PutUint32(file[96:], 4)         // 16 bits a refcount
	be.PutUint32(file[100:], 104)      // length of the header
	be.PutUint64(file[cluster:], 2*cluster)
	for n := range 6 {
		be.PutUint16(file[2*cluster+2*n:], 1)
	}
	const own = 1 << 63 // the refcount is one
	be.PutUint64(file[3*cluster:], 4*cluster|own)
	be.PutUint64(file[4*cluster:], 5*cluster|own)
	copy(file[5*cluster:], text)
	return file
}
