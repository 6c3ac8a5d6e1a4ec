package vm

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Port is a port that is open to the public.
type Port struct {
	Number   uint16   `json:"number"`
	Protocol Protocol `json:"protocol"`
}

// Protocol of a port.
type Protocol string

// The protocols.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// SSH is the port that is always open after deploy.
var ssh = Port{Number: 22, Protocol: TCP}

const (
	reservedPort = 10250 // of the published API
	maxPorts     = 50    // besides 22/tcp
	maxName      = 255
	maxKeys      = 64
	maxURL       = 2048
)

// CheckName returns an Invalid fault unless name is 1 to 255 ASCII letters,
// digits and hyphens.
func CheckName(name string) error {
	if name == "" {
		return fault.New(fault.Invalid, "a VM needs a name of letters, digits and hyphens")
	}
	if len(name) > maxName || strings.ContainsFunc(name, func(c rune) bool { return !isWordChar(c) }) {
		return fault.Newf(fault.Invalid, "VM name %q is not made of at most %d letters, digits and hyphens", clip(name), maxName)
	}
	return nil
}

// CheckAffinityGroup returns an Invalid fault unless a group is named like a VM,
// or not at all.
func CheckAffinityGroup(group string) error {
	if len(group) > maxName || strings.ContainsFunc(group, func(c rune) bool { return !isWordChar(c) }) {
		return fault.Newf(fault.Invalid, "affinity group %q is not made of at most %d letters, digits and hyphens", clip(group), maxName)
	}
	return nil
}

// CheckHostname returns an Invalid fault unless h is a host name as RFC 1123
// says: labels of 1 to 63 letters, digits and inner hyphens, 253 characters in
// all. A final dot is refused.
func CheckHostname(h string) error {
	bad := len(h) > 253
	for label := range strings.SplitSeq(h, ".") {
		bad = bad || label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(c rune) bool { return !isWordChar(c) })
	}
	if bad {
		return fault.Newf(fault.Invalid,
			"hostname %q is not a host name: labels of at most 63 letters, digits and inner hyphens, joined by dots", clip(h))
	}
	return nil
}

// DefaultHostname makes a host name of a VM's name, which may be longer than a
// label and begin or end with a hyphen.
func DefaultHostname(name string) string {
	label := strings.Trim(name[:min(len(name), 63)], "-")
	return cmp.Or(label, "vm")
}

// CheckImage returns an Invalid fault unless u is an http or https address of
// a disk image, which its suffix shows.
func CheckImage(u string) error {
	parsed, err := url.Parse(u)
	switch {
	case u == "":
		return fault.New(fault.Invalid, "osImage is missing: give the download URL of an image")
	case err != nil || len(u) > maxURL:
		return fault.New(fault.Invalid, "osImage is not a URL")
	case parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "":
		return fault.New(fault.Invalid, "osImage must be an http or https URL")
	case parsed.User != nil:
		return fault.New(fault.Invalid, "osImage must not carry a user name or password")
	}
	for _, suffix := range []string{".qcow2", ".img", ".raw", ".raw.xz", ".raw.gz", ".img.xz", ".img.gz"} {
		if strings.HasSuffix(parsed.Path, suffix) {
			return nil
		}
	}
	return fault.New(fault.Invalid, "osImage must end in .qcow2, .img, .raw, .raw.xz, .raw.gz, .img.xz or .img.gz")
}

const checksumPrefix = "sha256:"

// ParseChecksum returns a checksum of an image in the one spelling in which
// checksums are compared, "" for "". Returns an Invalid fault for anything but
// "sha256:" and 64 hex digits.
func ParseChecksum(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	digits, ok := strings.CutPrefix(text, checksumPrefix)
	if raw, err := hex.DecodeString(digits); !ok || err != nil || len(raw) != sha256.Size {
		return "", fault.Newf(fault.Invalid, "imageChecksum %q is not sha256: and the 64 hex digits of the image as it is downloaded", clip(text))
	}
	return checksumPrefix + strings.ToLower(digits), nil
}

// CheckKeyCount returns an Invalid fault unless n SSH keys are acceptable.
func CheckKeyCount(n int) error {
	if n == 0 {
		return fault.New(fault.Invalid, "sshKeys is missing: give at least one public key, or the name or fingerprint of a registered one")
	}
	if n > maxKeys {
		return fault.Newf(fault.Invalid, "at most %d SSH keys fit a VM", maxKeys)
	}
	return nil
}

// NewPort returns a port out of what a client sent. Returns an Invalid fault
// for numbers outside 1…65535, the reserved 10250, and protocols but tcp, udp.
func NewPort(number int64, protocol string) (Port, error) {
	p := Protocol(strings.ToLower(protocol))
	switch {
	case number < 1 || number > 65535:
		return Port{}, fault.Newf(fault.Invalid, "port %d is not within 1 to 65535", number)
	case number == reservedPort:
		return Port{}, fault.Newf(fault.Invalid, "port %d is reserved", reservedPort)
	case p != TCP && p != UDP:
		return Port{}, fault.Newf(fault.Invalid, "protocol %q is neither tcp nor udp", clip(protocol))
	}
	return Port{Number: uint16(number), Protocol: p}, nil
}

// OpenPorts sorts ports and returns an Invalid fault for duplicates and more
// than 50 besides 22/tcp.
func OpenPorts(ports []Port) ([]Port, error) {
	ports = slices.SortedFunc(slices.Values(ports), comparePorts)
	extra := len(ports)
	for i, p := range ports {
		if p == ssh {
			extra--
		}
		if i > 0 && ports[i-1] == p {
			return nil, fault.Newf(fault.Invalid, "port %d/%s is given twice", p.Number, p.Protocol)
		}
	}
	if extra > maxPorts {
		return nil, fault.Newf(fault.Invalid, "%d ports are given; at most %d fit a VM", len(ports), maxPorts)
	}
	if ports == nil {
		ports = []Port{}
	}
	return ports, nil
}

// WithSSH returns sorted ports with 22/tcp among them.
func WithSSH(ports []Port) []Port {
	if slices.Contains(ports, ssh) {
		return ports
	}
	return slices.SortedFunc(slices.Values(append(slices.Clone(ports), ssh)), comparePorts)
}

func comparePorts(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Protocol, b.Protocol))
}

func isWordChar(c rune) bool {
	return c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
