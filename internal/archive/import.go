package archive

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"filippo.io/age"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Import makes the file of a snapshot again.
type Import struct {
	ID       string
	Manifest string // its checksum, 64 hex digits
	Bytes    int64  // of the file
	SHA256   string // of the file, 64 hex digits
	Identity string // see Keys
	Depot    Depot
	Spool    *os.File // one object at a time lies here
	Target   *os.File // becomes the file; what is there of an earlier try is gone on with

	Done     map[int]bool        // chunks that are in Target
	Kept     func(n int) error   // told of each, so that it can be Done the next time
	Progress func(through int64) // told how many bytes of the file have been seen to
}

// Run fetches what is missing and checks the whole file. Nothing may be made of
// Target before Run has returned nil. Returns an Invalid fault when what is in the
// store is not what was stored, or not for this key, and ErrAnew when what an earlier
// try has left is not.
func (i Import) Run(ctx context.Context) error {
	identity, err := age.ParseX25519Identity(i.Identity)
	if err != nil { // the error may hold the key
		return fault.New(fault.Internal, "the export's key can't be read")
	}
	m, err := i.manifest(ctx)
	if err != nil {
		return err
	}
	if err := i.Target.Truncate(m.Bytes); err != nil {
		return fmt.Errorf("make room: %w", err)
	}
	for _, c := range m.Chunks {
		if !i.Done[c.Number] {
			if err := i.fetch(ctx, m, c, identity); err != nil {
				return err
			}
		}
		i.Progress(int64(c.Number)*m.ChunkBytes + m.length(c.Number))
	}
	return i.verify(m)
}

// ErrAnew says that Target and Done are of no use: they are to be begun anew.
var ErrAnew = fault.New(fault.Unavailable, "what was fetched before is not whole any more; it is fetched anew")

func (i Import) manifest(ctx context.Context) (Manifest, error) {
	r, err := i.Depot.Get(ctx, ManifestName)
	if err != nil {
		return Manifest{}, lost(ManifestName, err)
	}
	defer r.Close() //nolint:errcheck // only read from
	m, err := ReadManifest(r, i.ID, i.Manifest)
	if err == nil && m.Bytes != i.Bytes {
		err = errManifest
	}
	return m, err
}

// lost says of an object that isn't there that trying again is of no use.
func lost(name string, err error) error {
	if fault.Is(err, fault.NotFound) {
		return fault.Newf(fault.Invalid, "the export is damaged: the store has no object %s of it any more", name)
	}
	return err
}

// fetch puts a chunk into its place in the file. Nothing is decrypted that is not
// what the manifest says.
func (i Import) fetch(ctx context.Context, m Manifest, c Chunk, identity age.Identity) error {
	r, err := i.Depot.Get(ctx, c.Name())
	if err != nil {
		return lost(c.Name(), err)
	}
	defer r.Close() //nolint:errcheck // only read from
	s := spool{i.Spool}
	size, sha, _, err := s.fill(func(w io.Writer) error {
		_, err := io.Copy(w, io.LimitReader(r, c.Bytes+1))
		return err
	})
	if err != nil {
		return fmt.Errorf("fetch chunk %d: %w", c.Number, err)
	}
	if size != c.Bytes || hexOf(sha) != c.SHA256 {
		return fmt.Errorf("chunk %d: %w", c.Number, ErrDamaged)
	}
	if err := open(io.NewOffsetWriter(i.Target, int64(c.Number)*m.ChunkBytes), i.Spool, identity, m.length(c.Number)); err != nil {
		return fmt.Errorf("chunk %d: %w", c.Number, err)
	}
	return i.Kept(c.Number)
}

// verify reads the whole file once more.
func (i Import) verify(m Manifest) error {
	whole := sha256.New()
	if _, err := io.Copy(whole, io.NewSectionReader(i.Target, 0, m.Bytes)); err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	switch {
	case hexOf(whole.Sum(nil)) == i.SHA256:
		return nil
	case len(i.Done) > 0:
		return ErrAnew
	}
	return ErrDamaged
}
