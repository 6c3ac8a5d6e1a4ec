package archive

import (
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// window is how far back a compressed chunk may point, which bounds the memory that
// reading one takes.
const window = 4 << 20

// Keys are the two halves of an export's key: what it is encrypted to, and what it
// is decrypted with.
type Keys struct {
	Recipient string // "age1…": no secret
	Identity  string // "AGE-SECRET-KEY-1…"
}

// NewKeys makes the key of an export.
func NewKeys() (Keys, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return Keys{}, fmt.Errorf("make key: %w", err)
	}
	return Keys{Recipient: identity.Recipient().String(), Identity: identity.String()}, nil
}

// seal writes what is in plain to w, compressed and encrypted to recipient.
func seal(w io.Writer, plain io.Reader, recipient age.Recipient) error {
	sealed, err := age.Encrypt(w, recipient)
	if err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	z, err := zstd.NewWriter(sealed, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if _, err := io.Copy(z, plain); err != nil {
		return fmt.Errorf("read snapshot: %w", errors.Join(err, z.Close()))
	}
	return errors.Join(z.Close(), sealed.Close())
}

// ErrDamaged says that an object is not what was stored, or was not sealed for this
// key.
var ErrDamaged = fault.New(fault.Invalid, "the export is damaged: what the store gives is not what was stored")

// open writes the length bytes that were sealed to w. Returns ErrDamaged for
// anything else than exactly these.
func open(w io.Writer, sealed io.Reader, identity age.Identity, length int64) error {
	plain, err := age.Decrypt(sealed, identity)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	z, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(4*window))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer z.Close()
	out := &sink{w: w}
	n, err := io.Copy(out, io.LimitReader(z, length+1)) // the end has to be read, too: only then all of it is known to be genuine
	switch {
	case out.failed != nil:
		return out.failed
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case n != length:
		return ErrDamaged
	}
	return nil
}

// sink tells failures to write from failures to read.
type sink struct {
	w      io.Writer
	failed error
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.failed = err
	return n, err
}
