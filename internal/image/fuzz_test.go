package image_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
)

// Whatever an image begins with, it is taken for a disk only of the format that
// was promised, and never for raw if something would look for a format in it.
func FuzzSniff(f *testing.F) {
	f.Add(disk(mib)[:2048], "")
	f.Add(disk(mib)[:2048], "raw")
	f.Add([]byte("QFI\xfb\x00\x00\x00\x03"), "qcow2")
	f.Add([]byte("QFI\xfb\x00\x00\x00\x03"), "raw")
	f.Add([]byte("<html>"), "")
	f.Fuzz(func(t *testing.T, head []byte, promised string) {
		if promised != "raw" && promised != "qcow2" {
			promised = ""
		}
		kind, err := image.Sniff(head, promised)
		if err != nil {
			if !fault.Is(err, fault.Invalid) || kind != "" {
				t.Errorf("got %q, %v, want an Invalid fault", kind, err)
			}
			return
		}
		isQCOW2 := bytes.HasPrefix(head, []byte("QFI\xfb"))
		if isQCOW2 != (kind == "qcow2") || promised != "" && promised != kind {
			t.Errorf("%q was promised, it is taken for %q", promised, kind)
		}
		for _, magic := range []string{"KDMV", "QED\x00", "vhdxfile", "conectix", "LUKS\xba\xbe", "#!", "\x7fELF", "\x1f\x8b", "\xfd7zXZ\x00"} {
			if bytes.HasPrefix(head, []byte(magic)) {
				t.Errorf("%q is taken for %s", magic, kind)
			}
		}
		if kind == "raw" && (len(head) < 512 || !bytes.Equal(head[510:512], []byte{0x55, 0xaa}) && (len(head) < 1024 || string(head[512:520]) != "EFI PART")) {
			t.Error("it is taken for a disk that boots")
		}
		if err := image.CheckWhole(bytes.NewReader(head), int64(len(head))); err == nil && (len(head) < 1024 || len(head)%512 != 0) {
			t.Errorf("%d bytes are a whole disk", len(head))
		}
	})
}

// An address that is accepted can be asked for, and says what it seems to; what is
// refused, and what is logged of any, tells no secret.
func FuzzURL(f *testing.F) {
	for _, u := range []string{
		"https://example.org/a.qcow2", "http://[::1]:8080/a.raw.xz?token=secret", "https://user:secret@example.org/a.img#x", "HTTP://EXAMPLE.org./%2e%2e/a.img",
		"https://example.org/a\\..\\b.img", "json:{}.qcow2", "https://example.org/a.img?", "//example.org/a.img", "https://example.org:99999/a.img",
	} {
		f.Add(u)
	}
	f.Fuzz(func(t *testing.T, address string) {
		if err := image.CheckURL(address); err != nil {
			if !fault.Is(err, fault.Invalid) || len(address) > 30 && strings.Contains(err.Error(), address) {
				t.Errorf("got %v, want an Invalid fault that does not repeat the address", err)
			}
		} else {
			accepted(t, address)
		}
		red := image.Redact(address)
		u, err := url.Parse(address)
		if err != nil {
			return
		}
		for _, secret := range []string{u.RawQuery, u.Fragment, u.User.String()} {
			if len(secret) > 8 && strings.Contains(red, secret) && !strings.Contains(u.Path+u.Host+"(not a URL)", secret) && !strings.Contains(u.EscapedPath(), secret) {
				t.Errorf("%q is logged as %q, which tells %q", address, red, secret)
			}
		}
	})
}

func accepted(t *testing.T, address string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatalf("it can't be asked for: %v", err)
	}
	u := r.URL
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || len(address) > 2048 {
		t.Errorf("%q is accepted", address)
	}
	for _, segment := range strings.FieldsFunc(u.Path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == ".." || segment == "." {
			t.Errorf("%q leads elsewhere", address)
		}
	}
	for _, suffix := range []string{".qcow2", ".img", ".raw", ".raw.xz", ".raw.gz", ".img.xz", ".img.gz"} {
		if strings.HasSuffix(u.Path, suffix) {
			return
		}
	}
	t.Errorf("%q has none of the endings", address)
}

// What a server says of a part is read to the letter or not at all.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 5-9/10", "bytes 5-9/*", "bytes -5-9/10", "bytes 5-9", "bytes 9-5/3", "bytes */10", "bytes 18446744073709551615-0/1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, last, total, err := image.ParseContentRange(text)
		if err != nil {
			return
		}
		if first < 0 || last < 0 || total < 0 {
			t.Errorf("%q is %d-%d of %d", text, first, last, total)
		}
		var a, b, c int64
		if n, _ := fmt.Sscanf(text, "bytes %d-%d/%d", &a, &b, &c); n >= 2 && (a != first || b != last || n == 3 && c != total) {
			t.Errorf("%q is read as %d-%d of %d", text, first, last, total)
		}
	})
}
