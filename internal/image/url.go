package image

import (
	"net/url"
	"strings"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/unpack"
)

const maxURL = 2048

// suffix is an ending of a URL's path and what it promises.
type suffix struct {
	text  string
	codec unpack.Codec
	holds format // "" if the content decides
}

var suffixes = []suffix{
	{".qcow2", unpack.None, qcow2Format},
	{".img", unpack.None, ""},
	{".raw", unpack.None, rawFormat},
	{".raw.xz", unpack.XZ, rawFormat},
	{".raw.gz", unpack.Gzip, rawFormat},
	{".img.xz", unpack.XZ, ""},
	{".img.gz", unpack.Gzip, ""},
}

// CheckURL returns an Invalid fault that says why no image can be fetched from
// address, nil when it may be tried: an absolute http or https URL without
// user, password, fragment and dot segments, whose path ends in .qcow2, .img,
// .raw, .raw.xz, .raw.gz, .img.xz or .img.gz.
func CheckURL(address string) error {
	_, err := parse(address)
	return err
}

func parse(address string) (suffix, error) {
	invalid := func(sentence string) (suffix, error) {
		return suffix{}, fault.New(fault.Invalid, sentence)
	}
	if len(address) > maxURL {
		return invalid("the image's address is longer than 2048 characters")
	}
	u, err := url.Parse(address)
	switch {
	case err != nil: // its text would repeat the address, with a password if there is one
		return invalid("the image's address is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return invalid("the image's address has to begin with https:// or http://")
	case u.User != nil:
		return invalid("the image's address must not contain a user or password")
	case u.Hostname() == "" || u.Opaque != "":
		return invalid("the image's address has no host")
	case u.Fragment != "" || strings.HasSuffix(address, "#"):
		return invalid("the image's address must not contain a fragment (#…)")
	case hasDots(u.Path):
		return invalid("the image's address must not contain the segments . and ..")
	}
	for _, s := range suffixes {
		if strings.HasSuffix(u.Path, s.text) {
			return s, nil
		}
	}
	return invalid("the image's address has to end in .qcow2, .img, .raw, .raw.xz, .raw.gz, .img.xz or .img.gz")
}

// hasDots reports whether path has segments that lead elsewhere than they say;
// a mirror's prefix would not hold.
func hasDots(path string) bool {
	for s := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}

// Redact returns address without what may be secret in it: user, password, the
// query (signed URLs carry their signature there) and the fragment.
func Redact(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" {
		return "(not a URL)"
	}
	if u.RawQuery != "" {
		u.RawQuery = "…"
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	return u.String()
}
