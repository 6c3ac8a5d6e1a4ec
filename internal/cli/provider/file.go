package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/listing"
)

// maxFile is more than the parser takes, which says so.
const maxFile = 2 << 20

// file is an offers file.
type file struct {
	name    string
	text    []byte
	listing listing.Listing
}

// read reads the file at path, "-" for standard input, and tells the user all
// that is wrong with it.
func read(s *session.Session, path string) (file, error) {
	f := file{name: path}
	in := s.In
	if path == "-" {
		f.name = "standard input"
	} else {
		opened, err := os.Open(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return f, fault.Newf(fault.NotFound, "no file %s: `cpucloud provider export` writes what is listed now, docs/providers.md shows an example", session.Clean(path))
		case err != nil:
			return f, fmt.Errorf("read offers: %w", err)
		}
		defer opened.Close() //nolint:errcheck // only read from
		in = opened
	}
	var err error
	if f.text, err = io.ReadAll(io.LimitReader(in, maxFile)); err != nil {
		return f, fmt.Errorf("read offers: %w", err)
	}
	declared, faults := listing.Parse(f.name, f.text)
	for _, one := range faults {
		s.Notef("%s", one)
	}
	if len(faults) > 0 {
		return f, fault.Newf(fault.Invalid, "%s in %s; nothing was asked of the cloud", count(len(faults), "fault"), session.Clean(f.name))
	}
	f.listing = declared
	return f, nil
}

// refused tells what the cloud found wrong, with the places in the file.
func (f file) refused(s *session.Session, err error) error {
	refusal, ok := errors.AsType[*client.Error](err)
	if !ok || len(refusal.Faults) == 0 {
		return err
	}
	for _, one := range refusal.Faults {
		s.Notef("%s", listing.Find(f.name, f.text, one.Path, one.Message))
	}
	return &session.ExitError{
		Code: session.CodeRefused,
		Err:  fmt.Errorf("the cloud found %s in %s; nothing was changed", count(len(refusal.Faults), "fault"), session.Clean(f.name)),
	}
}

// as turns a value into the type with the same names in JSON: the client and
// the file each have their own.
func as[T any](v any) (T, error) {
	var to T
	text, err := json.Marshal(v)
	if err != nil {
		return to, fmt.Errorf("encode listing: %w", err)
	}
	if err := json.Unmarshal(text, &to); err != nil {
		return to, fmt.Errorf("decode listing: %w", err)
	}
	return to, nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
