package archive

import (
	"context"
	"crypto/md5" //nolint:gosec // what stores check a body by; what counts is the SHA-256
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// Object is what a depot is given.
type Object struct {
	Name  string
	Bytes int64
	MD5   []byte // by which the store checks that all of it came
}

// Depot keeps the objects of one export. Its errors are faults: Invalid where trying
// again is of no use.
type Depot interface {
	// Put stores an object, in the place of one of the same name.
	Put(ctx context.Context, o Object, body io.ReadSeeker) error
	// Get opens the object of a name. The caller closes it.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
}

// spool is a file in which one object at a time lies until it is whole.
type spool struct{ file *os.File }

// fill empties the spool and puts into it what write writes. It returns its size and
// checksums.
func (s spool) fill(write func(io.Writer) error) (bytes int64, sha, md []byte, err error) {
	if err := errors.Join(s.file.Truncate(0), s.rewind()); err != nil {
		return 0, nil, nil, fmt.Errorf("empty spool: %w", err)
	}
	digest, check := sha256.New(), md5.New() //nolint:gosec // see Object
	count := &counter{}
	if err := write(io.MultiWriter(s.file, digest, check, count)); err != nil {
		return 0, nil, nil, err
	}
	return count.bytes, digest.Sum(nil), check.Sum(nil), s.rewind()
}

func (s spool) rewind() error {
	_, err := s.file.Seek(0, io.SeekStart)
	return err
}

type counter struct{ bytes int64 }

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	return len(p), nil
}

func hexOf(sum []byte) string { return hex.EncodeToString(sum) }
