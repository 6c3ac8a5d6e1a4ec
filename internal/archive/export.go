package archive

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // see Object
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"filippo.io/age"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Export stores a snapshot.
type Export struct {
	ID        string
	Source    io.ReaderAt // the snapshot's file, which doesn't change
	Bytes     int64       // of it
	SHA256    string      // of it, 64 hex digits
	Recipient string      // see Keys
	Depot     Depot
	Spool     *os.File // one object at a time lies here

	Done     map[int]Chunk       // what was stored before, by number
	Kept     func(Chunk) error   // told of each that is stored, so that it can be Done the next time
	Progress func(through int64) // told how many bytes of the snapshot have been seen to
}

// Run stores what is not stored yet, and the manifest at the end. It returns the
// manifest's checksum and how many bytes everything takes in the store. Returns an
// Invalid fault when the snapshot is not what its checksum says.
func (e Export) Run(ctx context.Context) (m Manifest, sum string, err error) {
	recipient, err := age.ParseX25519Recipient(e.Recipient)
	if err != nil || e.Bytes <= 0 || e.Bytes > MaxBytes {
		return m, "", fault.Newf(fault.Invalid, "a snapshot of %d bytes can't be exported to %q", e.Bytes, e.Recipient)
	}
	m = Manifest{Format: format, Export: e.ID, Content: content, Bytes: e.Bytes, ChunkBytes: ChunkBytes(e.Bytes), Chunks: []Chunk{}}
	whole := sha256.New()
	for n := range int(chunks(m.Bytes, m.ChunkBytes)) {
		if err := ctx.Err(); err != nil {
			return m, "", err
		}
		look := &looker{}
		if _, err := io.Copy(io.MultiWriter(whole, look), e.chunk(m, n)); err != nil {
			return m, "", fmt.Errorf("read snapshot: %w", err)
		}
		c, done := e.Done[n]
		if !done && look.something {
			if c, err = e.store(ctx, m, n, recipient); err != nil {
				return m, "", err
			}
		}
		if look.something {
			m.Chunks = append(m.Chunks, c)
		}
		e.Progress(int64(n)*m.ChunkBytes + m.length(n))
	}
	if hexOf(whole.Sum(nil)) != e.SHA256 {
		return m, "", fault.New(fault.Invalid, "the snapshot is damaged on its server's disk: it is not exported; take another one")
	}
	sum, err = e.finish(ctx, m)
	return m, sum, err
}

// chunk returns what is in chunk n.
func (e Export) chunk(m Manifest, n int) io.Reader {
	return io.NewSectionReader(e.Source, int64(n)*m.ChunkBytes, m.length(n))
}

// store seals chunk n and stores it.
func (e Export) store(ctx context.Context, m Manifest, n int, recipient age.Recipient) (Chunk, error) {
	s := spool{e.Spool}
	size, sha, md, err := s.fill(func(w io.Writer) error { return seal(w, e.chunk(m, n), recipient) })
	if err != nil {
		return Chunk{}, err
	}
	c := Chunk{Number: n, Bytes: size, SHA256: hexOf(sha)}
	if err := e.Depot.Put(ctx, Object{Name: c.Name(), Bytes: size, MD5: md}, e.Spool); err != nil {
		return Chunk{}, err
	}
	return c, e.Kept(c)
}

// finish stores the manifest.
func (e Export) finish(ctx context.Context, m Manifest) (sum string, err error) {
	text, sum, err := m.Encode()
	if err != nil {
		return "", err
	}
	md := md5.Sum(text) //nolint:gosec // see Object
	return sum, e.Depot.Put(ctx, Object{Name: ManifestName, Bytes: int64(len(text)), MD5: md[:]}, bytes.NewReader(text))
}

// looker sees whether there is anything but zeroes.
type looker struct{ something bool }

var zeroes = make([]byte, 32<<10)

// Write implements io.Writer.
func (l *looker) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && !l.something; {
		n := min(len(rest), len(zeroes))
		l.something = !bytes.Equal(rest[:n], zeroes[:n])
		rest = rest[n:]
	}
	return len(p), nil
}
