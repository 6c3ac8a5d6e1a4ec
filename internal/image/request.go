package image

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Request asks a Cache for an image.
type Request struct {
	URL string
	// Checksum is "sha256:" and 64 hex digits of the image as it is downloaded,
	// "" to take what comes. Other bytes are refused.
	Checksum string
	Pinned   bool // Checksum is of what the address gave once, not what somebody asked for
	// Tenant stands for whom the image is. What is not public is never handed
	// to another one. "" is the operator, who fetches for everybody.
	Tenant    string
	DiskBytes int64          // of the disk that it has to fit
	Progress  func(Progress) // may be nil; it must not block
}

const (
	checksumPrefix = "sha256:"
	sumDigits      = 2 * sha256.Size
)

// sum returns the hex digits of r.Checksum, "" for none.
func (r Request) sum() (string, error) {
	if r.Checksum == "" {
		return "", nil
	}
	digits, ok := strings.CutPrefix(r.Checksum, checksumPrefix)
	if raw, err := hex.DecodeString(digits); !ok || err != nil || len(raw) != sha256.Size {
		return "", fault.Newf(fault.Invalid, "the image's checksum has to be sha256: and %d hex digits", sumDigits)
	}
	return strings.ToLower(digits), nil
}

// checkSum returns an Invalid fault if got is not what r asked for.
func (r Request) checkSum(got string) error {
	want, err := r.sum()
	switch {
	case err != nil || want == "" || got == want:
		return err
	case r.Pinned:
		return fault.Newf(fault.Invalid, "the image's address gives other bytes than when the VM was first made of it (sha256:%s instead of sha256:%s)", got, want)
	}
	return fault.Newf(fault.Invalid, "the image's checksum is sha256:%s, not sha256:%s as was asked for", got, want)
}

// key names what r asks for in the index: an image of its tenant's own, or one
// for all. An image that was asked for by its checksum is kept beside what the
// address gave before.
func (r Request) key(own bool) string {
	tenant := ""
	if own {
		tenant = r.Tenant
	}
	sum, _ := r.sum() // checked by Get
	return keyOf(tenant, r.URL, sum)
}

// keys returns where an image may be that answers r, the first to be preferred.
func (r Request) keys() []string {
	any := r
	any.Checksum = ""
	return []string{any.key(false), r.key(false), any.key(true), r.key(true)}
}

// keyOf stands for a URL, which may hold a secret signature, on the disk.
func keyOf(tenant, address, sum string) string {
	text := address
	if tenant != "" || sum != "" {
		text += "\n" + tenant + "\n" + sum
	}
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}

// private reports whether what an address gives is only for who asked: it has a
// query, in which signatures and tokens are, or is on a host that the operator
// alone can name as public. Mirrored addresses are on the operator's word.
func (c *Cache) private(address string) bool {
	if u, err := url.Parse(address); err != nil || u.RawQuery != "" || u.ForceQuery {
		return true
	}
	if where, _ := c.source(address); where != address {
		return false
	}
	return c.onPrivateHost(address)
}

// onPrivateHost reports whether address is on a host that only this server's
// networks reach.
func (c *Cache) onPrivateHost(address string) bool {
	u, err := url.Parse(address)
	return err != nil || c.privates.Allows(u)
}
