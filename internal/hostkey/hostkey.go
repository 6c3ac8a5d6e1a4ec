// Package hostkey knows the keys by which the SSH servers of VMs are known, and finds
// them in what a guest writes to its console.
package hostkey

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Key is a public key by which an SSH server is known: its type, a space and
// its base64, without a comment.
type Key string

const maxLine = 3 << 10 // characters; an RSA key of 16384 bits has 2,744

// types are the types that are taken, those that last first.
var types = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA}

// Parse reads "TYPE BASE64", perhaps with a comment behind it, which is left
// out. Returns an Invalid fault, which quotes nothing, for all that is no key of a
// known type in its one spelling.
func Parse(line string) (Key, error) {
	bad := fault.New(fault.Invalid, "this is no SSH host key of type RSA, ECDSA or Ed25519")
	if len(line) > maxLine {
		return "", bad
	}
	kind, rest, _ := strings.Cut(line, " ")
	text, _, _ := strings.Cut(rest, " ")
	blob, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || !slices.Contains(types, kind) {
		return "", bad
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil || key.Type() != kind || !bytes.Equal(key.Marshal(), blob) || base64.StdEncoding.EncodeToString(blob) != text {
		return "", bad
	}
	return Key(kind + " " + text), nil
}

// Type returns the type of a key, such as "ssh-ed25519".
func (k Key) Type() string {
	kind, _, _ := strings.Cut(string(k), " ")
	return kind
}

// Fingerprint returns the key's fingerprint as ssh prints it: "SHA256:" and
// unpadded base64. It is "" for what is no key.
func (k Key) Fingerprint() string {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k))
	if err != nil {
		return ""
	}
	return ssh.FingerprintSHA256(key)
}

// Check returns an Invalid fault unless keys are proper ones, each of
// another type, in the order of In.
func Check(keys []Key) error {
	last := -1
	for _, k := range keys {
		clean, err := Parse(string(k))
		if err != nil {
			return err
		}
		at := slices.Index(types, k.Type())
		if clean != k || at <= last {
			return fault.New(fault.Invalid, "SSH host keys are one of each type at most, in order and without comments")
		}
		last = at
	}
	return nil
}

// The lines between which cloud-init prints host keys.
const (
	begin = "-----BEGIN SSH HOST KEY KEYS-----"
	end   = "-----END SSH HOST KEY KEYS-----"
)

// In returns the host keys that a guest printed on its console, one of each
// type: those of the first whole list that has any. The console is the guest's
// word, and anything may be in it: what is no key is passed over.
func In(console []byte) []Key {
	rest := string(console)
	for {
		_, after, begun := strings.Cut(rest, begin)
		list, more, ended := strings.Cut(after, end)
		if !begun || !ended {
			return nil
		}
		if at := strings.LastIndex(list, begin); at >= 0 { // a list that was cut off came before it
			list = list[at+len(begin):]
		}
		if keys := keysOf(list); len(keys) > 0 {
			return keys
		}
		rest = more
	}
}

// keysOf returns the keys among the lines of a list, the first of each type.
func keysOf(list string) []Key {
	found := map[string]Key{}
	for line := range strings.SplitSeq(list, "\n") {
		key, err := Parse(strings.Trim(line, " \t\r"))
		if _, known := found[key.Type()]; err == nil && !known {
			found[key.Type()] = key
		}
	}
	var keys []Key
	for _, kind := range types {
		if key, ok := found[kind]; ok {
			keys = append(keys, key)
		}
	}
	return keys
}
