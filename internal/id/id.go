// Package id makes and checks identifiers.
//
// A VM's id looks like an Ethereum address: 0x and 40 hex digits, spelled with
// the checksum of EIP-55. Everything else has a short prefix and a part that
// sorts by the time it was made.
package id

import (
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/sha3"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// base32hex keeps the order of the bytes it encodes.
var sortable = base32.HexEncoding.WithPadding(base32.NoPadding)

// New returns an identifier such as acc_0DNL6H… : prefix, 48 bits of
// milliseconds and 80 random bits out of rand. Later ones sort behind earlier ones.
func New(prefix string, now time.Time, rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[6:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(b[:6], ms[2:])
	return prefix + "_" + strings.ToLower(sortable.EncodeToString(b[:])), nil
}

// vmTime is how many digits of a VM's id are its time: milliseconds, until the
// year 2286.
const vmTime = 13

// NewVM returns a VM's id in its one spelling: the time in decimal digits, and
// 108 random bits out of rand. Ids that are made together are then kept together
// in every index of theirs; hexadecimal digits of the time would not do, since
// the checksum writes letters large or small at random.
func NewVM(now time.Time, rand io.Reader) (string, error) {
	var b [14]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	ms := now.UnixMilli() % 1e13
	return checksum(fmt.Sprintf("%0*d", vmTime, ms) + hex.EncodeToString(b[:])[1:]), nil
}

// ParseVM takes a VM's id in any case and returns it in its one spelling.
// Returns a NotFound fault: what is not an id names no VM.
func ParseVM(s string) (string, error) {
	digits, ok := strings.CutPrefix(strings.ToLower(s), "0x")
	if b, err := hex.DecodeString(digits); !ok || err != nil || len(b) != 20 {
		if len(s) > 60 {
			s = s[:60] + "…"
		}
		return "", fault.Newf(fault.NotFound, "no VM with id %q", s)
	}
	return checksum(digits), nil
}

// checksum spells 40 lower-case hex digits as EIP-55 says: a letter is a
// capital where the same digit of the Keccak-256 of the text is 8 or more.
func checksum(digits string) string {
	h := sha3.NewLegacyKeccak256()
	h.Write([]byte(digits))
	sum := hex.EncodeToString(h.Sum(nil))
	out := []byte(digits)
	for i, c := range out {
		if c >= 'a' && sum[i] >= '8' {
			out[i] = c - 'a' + 'A'
		}
	}
	return "0x" + string(out)
}

// NewSecret returns n random bytes as text that a person can copy: API keys,
// join tokens.
func NewSecret(prefix string, n int, rand io.Reader) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(rand, b); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return prefix + "_" + strings.ToLower(sortable.EncodeToString(b)), nil
}
