package archive

import (
	"io"

	"filippo.io/age"
)

// Open is open with the identity in letters.
func Open(w io.Writer, sealed io.Reader, identity string, length int64) error {
	i, err := age.ParseX25519Identity(identity)
	if err != nil {
		return err
	}
	return open(w, sealed, i, length)
}
