package image_test

import (
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
)

func TestCheckURL(t *testing.T) {
	t.Parallel()

	for _, u := range []string{
		"https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2",
		"http://example.org/a.img", "https://example.org:8443/a.raw", "https://example.org/a.raw.xz", "https://example.org/a.raw.gz",
		"https://example.org/a.img.xz", "https://example.org/a.img.gz", "HTTPS://example.org/a.img?token=x&y=z", "https://[2606:4700::1]/a.img",
		"https://example.org/v1..2/a.img",
	} {
		if err := image.CheckURL(u); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	for _, u := range []string{
		"", "a.qcow2", "/var/lib/a.qcow2", "file:///var/lib/a.qcow2", "ftp://example.org/a.qcow2", "nbd://example.org/a.qcow2",
		"json:{}.qcow2", "https:a.qcow2", "https:///a.qcow2", "https://:443/a.qcow2", "//example.org/a.qcow2",
		"https://user@example.org/a.qcow2", "https://user:secret@example.org/a.qcow2", "https://example.org/a.qcow2#secret", "https://example.org/a.qcow2#",
		"https://example.org/a.iso", "https://example.org/a.vmdk", "https://example.org/a.qcow2.xz", "https://example.org/a.xz", "https://example.org/",
		"https://example.org/a?x=.qcow2", "https://example.org/../a.qcow2", "https://example.org/x/%2e%2e/a.qcow2", "https://exa mple.org/a.qcow2",
		"https://example.org/a\n.qcow2", "https://example.org/%zz/a.qcow2", "https://example.org/" + strings.Repeat("a", 3000) + ".qcow2",
	} {
		err := image.CheckURL(u)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v, want an Invalid fault", u, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error tells the secret: %v", u, err)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()

	for u, want := range map[string]string{
		"https://example.org/a.img":                                 "https://example.org/a.img",
		"https://user:secret@example.org/a.img?X-Sig=secret#secret": "https://example.org/a.img?…",
		"https://user:secret@exa mple.org/":                         "(not a URL)",
		"mailto:secret":                                             "(not a URL)",
	} {
		if got := image.Redact(u); got != want {
			t.Errorf("Redact(%q) = %q, want %q", u, got, want)
		}
	}
}
