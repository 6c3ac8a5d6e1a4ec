package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// format is the version of the form. An older program refuses a newer form.
const format = 1

// ManifestName is the name of the object that says which others there are. It is
// the last one that is stored: without it there is no export.
const ManifestName = "manifest.json"

// Bounds of an export.
const (
	leastChunk  = 16 << 20 // bytes of a chunk before it is compressed: so much may be stored or fetched in vain
	mostChunks  = 16384    // of one export: from 256 GiB on chunks are larger
	MaxManifest = 4 << 20  // bytes; one with the most chunks has about 2 MiB
	MaxBytes    = 64 << 40 // of a snapshot's file
)

// Manifest says what an export consists of. It holds nothing that is secret, and
// nothing that tells what is in the snapshot: not even its checksum.
type Manifest struct {
	Format     int     `json:"format"`
	Export     string  `json:"export"`      // its id
	Content    string  `json:"content"`     // what the chunks are of: a disk's file in this format, "qcow2"
	Bytes      int64   `json:"bytes"`       // of the snapshot's file
	ChunkBytes int64   `json:"chunk_bytes"` // of every chunk but the last, before it was compressed
	Chunks     []Chunk `json:"chunks"`      // by number; those that are missing are zeroes
}

// Chunk is one object of an export.
type Chunk struct {
	Number int    `json:"number"` // counted from 0
	Bytes  int64  `json:"bytes"`  // of the object
	SHA256 string `json:"sha256"` // of the object, 64 hex digits
}

// Name returns the name of the object. It has a part of the object's checksum in
// it, so that a chunk that is stored twice never stands in its own place.
func (c Chunk) Name() string { return fmt.Sprintf("%05d-%.16s", c.Number, c.SHA256) }

var objectName = regexp.MustCompile(`^\d{5}-[0-9a-f]{16}$`)

// ValidName reports whether name is one of an object of an export.
func ValidName(name string) bool { return name == ManifestName || objectName.MatchString(name) }

// ChunkBytes returns how large the chunks of a file of so many bytes are.
func ChunkBytes(bytes int64) int64 {
	size := int64(leastChunk)
	for chunks(bytes, size) > mostChunks {
		size *= 2
	}
	return size
}

// Objects returns how many objects an export of a file of so many bytes has at most.
func Objects(bytes int64) int64 { return chunks(bytes, ChunkBytes(bytes)) + 1 }

// MostObject returns how many bytes the object of a chunk of so many bytes has at most.
func MostObject(chunk int64) int64 { return chunk + chunk/128 + 64<<10 }

func chunks(bytes, size int64) int64 { return (bytes + size - 1) / size }

// length returns how many bytes chunk n has before it is compressed.
func (m Manifest) length(n int) int64 { return min(m.ChunkBytes, m.Bytes-int64(n)*m.ChunkBytes) }

// Sealed returns how many bytes all chunks take in the store.
func (m Manifest) Sealed() int64 {
	sum := int64(0)
	for _, c := range m.Chunks {
		sum += c.Bytes
	}
	return sum
}

// Encode returns the manifest as it is stored, and its checksum, 64 hex digits.
func (m Manifest) Encode() (text []byte, sum string, err error) {
	if text, err = json.Marshal(m); err != nil {
		return nil, "", fmt.Errorf("write manifest: %w", err)
	}
	digest := sha256.Sum256(text)
	return text, hex.EncodeToString(digest[:]), nil
}

// errManifest refuses what is no manifest of the export.
var errManifest = fault.New(fault.Invalid, "the export is damaged: its manifest is not the one that was stored")

// ReadManifest reads the manifest of an export, whose checksum has to be sum. Returns
// an Invalid fault for any other.
func ReadManifest(r io.Reader, export, sum string) (m Manifest, err error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxManifest+1))
	if err != nil {
		return m, fmt.Errorf("read manifest: %w", err)
	}
	digest := sha256.Sum256(text)
	if len(text) > MaxManifest || hex.EncodeToString(digest[:]) != sum {
		return m, errManifest
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil || m.Export != export {
		return m, errManifest
	}
	return m, m.check()
}

// check returns an Invalid fault for a manifest that can't be meant: who wrote it
// need not be who reads it.
func (m Manifest) check() error {
	if m.Format != format {
		return fault.Newf(fault.Invalid, "the export is of form %d, which this program does not know: upgrade it", m.Format)
	}
	if m.Bytes <= 0 || m.Bytes > MaxBytes || m.ChunkBytes != ChunkBytes(m.Bytes) || m.Content != content {
		return errManifest
	}
	all, last := chunks(m.Bytes, m.ChunkBytes), -1
	for _, c := range m.Chunks {
		if c.Number <= last || int64(c.Number) >= all || c.Bytes <= 0 || c.Bytes > MostObject(m.ChunkBytes) || !validSum(c.SHA256) {
			return errManifest
		}
		last = c.Number
	}
	return nil
}

// content is what chunks are of.
const content = "qcow2"

func validSum(sum string) bool {
	raw, err := hex.DecodeString(sum)
	return err == nil && len(raw) == sha256.Size && hex.EncodeToString(raw) == sum
}
