package account

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// SSHKey is a public key that a customer registered.
type SSHKey struct {
	AccountID   string
	Name        string // "" when it was given none
	Fingerprint string // SHA256: and unpadded base64
	Algorithm   string // ssh-ed25519, …
	Comment     string
	PublicKey   string // the whole line
	CreatedAt   time.Time
}

const maxKeyLine = 16 << 10

// ParseSSHKey reads one public key line: RSA, ECDSA or Ed25519. Returns an
// Invalid fault for anything else, a private key, options in front of the key,
// several lines, a cut-off blob, or an algorithm that isn't the blob's.
func ParseSSHKey(line string) (SSHKey, error) {
	line = strings.TrimSpace(line)
	switch {
	case line == "":
		return SSHKey{}, fault.New(fault.Invalid, "the SSH key is empty")
	case strings.Contains(line, "PRIVATE KEY"):
		return SSHKey{}, fault.New(fault.Invalid, "this is a private key; keep it secret and give the public one (….pub)")
	case len(line) > maxKeyLine, !printable(line):
		return SSHKey{}, fault.New(fault.Invalid, "an SSH key is one line of text")
	}
	key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	algorithm, _, _ := strings.Cut(line, " ")
	if err != nil || len(options) > 0 || key.Type() != algorithm || !accepted(algorithm) {
		return SSHKey{}, fault.New(fault.Invalid, "this is no SSH public key of type RSA, ECDSA or Ed25519")
	}
	return SSHKey{
		Fingerprint: ssh.FingerprintSHA256(key), Algorithm: algorithm, Comment: comment, PublicKey: line,
	}, nil
}

func accepted(algorithm string) bool {
	switch algorithm {
	case ssh.KeyAlgoRSA, ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return true
	}
	return false
}

// printable reports whether s is UTF-8 of characters that show as themselves:
// no control characters, line breaks or marks that turn the direction of text.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })
}
