package hostkey_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hostkey"
)

const (
	ed    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
	other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBwVyhJAwCHMVJxhLPUZOuyFZQKNdgGWqI2ahVZO9wQ2"
	ec    = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBAqyxBFMB3zG9YX3fhHYdk7F6tUF2K553AXE/FnkOOrJd5njR56XNEyff6852HhvZG1mCh/nWCoe5AmmCPzWhao="
	begin = "-----BEGIN SSH HOST KEY KEYS-----"
	end   = "-----END SSH HOST KEY KEYS-----"
)

// list returns a list of lines as a guest prints it.
func list(lines ...string) string {
	return strings.Join(slices.Concat([]string{begin}, lines, []string{end, ""}), "\n")
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, line := range []string{ed, ed + " root@web", ec} {
		key, err := hostkey.Parse(line)
		if err != nil || string(key) != strings.TrimSuffix(line, " root@web") {
			t.Errorf("Parse(%q) = %q, %v", line, key, err)
		}
	}
	if key := hostkey.Key(ed); key.Type() != "ssh-ed25519" || key.Fingerprint() != "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU" {
		t.Errorf("type %q, fingerprint %q", key.Type(), key.Fingerprint())
	}
	for name, line := range map[string]string{
		"nothing":          "",
		"a type":           "ssh-ed25519",
		"a fingerprint":    "256 SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDgZ2lsWMiTAOXsHHk root@web (ED25519)",
		"cut off":          ed[:len(ed)-4],
		"another type":     "ssh-rsa " + strings.Fields(ed)[1],
		"an unknown type":  "ssh-dss AAAAB3NzaC1kc3M=",
		"a certificate":    "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29t",
		"a hardware key":   "sk-ssh-ed25519@openssh.com " + base64.StdEncoding.EncodeToString(ssh.Marshal(struct{ Type, Key, App string }{"sk-ssh-ed25519@openssh.com", strings.Repeat("k", 32), "ssh:"})),
		"options":          `cert-authority ` + ed,
		"a name in front":  "web " + ed,
		"a marker":         "@cert-authority " + ed,
		"a line's end":     strings.Replace(ed, "AAAAI", "AAAA\nI", 1),
		"two spaces":       strings.Replace(ed, " ", "  ", 1),
		"a tab":            strings.Replace(ed, " ", "\t", 1),
		"more in its blob": "ssh-ed25519 " + base64.StdEncoding.EncodeToString(append(blob(ed), 0)),
		"an escape":        ed + "\x1b[2J"[:0] + "\x1b[2J",
		"too long":         ed + " " + strings.Repeat("x", 4<<10),
	} {
		if key, err := hostkey.Parse(line); !fault.Is(err, fault.Invalid) || key != "" {
			t.Errorf("%s: %q, %v, want an Invalid fault", name, key, err)
		}
	}
	if got := hostkey.Key("rubbish").Fingerprint(); got != "" {
		t.Errorf("fingerprint of rubbish: %q", got)
	}
}

// blob returns what is encoded in a key line.
func blob(line string) []byte {
	raw, _ := base64.StdEncoding.DecodeString(strings.Fields(line)[1])
	return raw
}

func TestIn(t *testing.T) {
	t.Parallel()
	cloudInit := "[   12.3] cloud-init[412]: Cloud-init v. 22.4.2 running 'modules:final'\r\n" +
		"<14>Nov 25 10:00:00 cloud-init: #############################################################\r\n" +
		"<14>Nov 25 10:00:00 cloud-init: -----BEGIN SSH HOST KEY FINGERPRINTS-----\r\n" +
		"<14>Nov 25 10:00:00 cloud-init: 256 SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDgZ2lsWMiTAOXsHHk root@web (ED25519)\r\n" +
		"<14>Nov 25 10:00:00 cloud-init: -----END SSH HOST KEY FINGERPRINTS-----\r\n" +
		strings.ReplaceAll(list(ec+" root@web", ed+" root@web"), "\n", "\r\n") + "[   13.0] done\r\n"
	for name, tt := range map[string]struct {
		console string
		want    []hostkey.Key
	}{
		"nothing":                {"", nil},
		"keys alone":             {ed + "\n" + ec + "\n", nil},
		"cloud-init":             {cloudInit, []hostkey.Key{ed, ec}},
		"not all of it yet":      {strings.Split(cloudInit, end)[0], nil},
		"none in the list":       {list("", "rubbish"), nil},
		"lines of the kernel":    {list("[ 3.2] random: crng init done", ed, "[ 3.3] eth0: link up"), []hostkey.Key{ed}},
		"a key that was cut":     {list(ed[:40]+"[ 3.2] random: crng init done"+ed[40:], ec), []hostkey.Key{ec}},
		"a list that was cut":    {begin + "\n" + ed[:20] + "\n" + list(ec), []hostkey.Key{ec}},
		"cut, with another's":    {begin + "\n" + other + "\n" + list(ed), []hostkey.Key{ed}},
		"two lists":              {list(ed) + list(other, ec), []hostkey.Key{ed}},
		"the first is empty":     {list() + list(ed), []hostkey.Key{ed}},
		"the same type twice":    {list(ed, other), []hostkey.Key{ed}},
		"many keys":              {list(slices.Repeat([]string{other}, 5_000)...), []hostkey.Key{other}},
		"an end without a start": {end + "\n" + ed, nil},
		"a start at the end":     {list(ed) + begin, []hostkey.Key{ed}},
	} {
		if got := hostkey.In([]byte(tt.console)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]hostkey.Key{nil, {ed}, {ed, ec}} {
		if err := hostkey.Check(keys); err != nil {
			t.Errorf("%q: %v", keys, err)
		}
	}
	for _, keys := range [][]hostkey.Key{{""}, {ed + " comment"}, {ed, other}, {ec, ed}, {ed, ed}, {ed, "rubbish"}} {
		if err := hostkey.Check(keys); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, want an Invalid fault", keys, err)
		}
	}
}

// What a server has is found among whatever else is on its console.
func TestKeysAreFoundAmongAnything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		public, _, err := ed25519.GenerateKey(bytes.NewReader(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed")))
		if err != nil {
			t.Fatal(err)
		}
		key := marshal(t, public)
		noise := rapid.StringMatching(`([a-z0-9 \-\[\]\x1b\r\n]|-----[A-Z]{3,5} SSH|ssh-ed25519 [A-Za-z]{0,20}){0,20}`)
		console := noise.Draw(t, "before") + "\n" + begin + "\n" + noise.Draw(t, "within") + "\n" + string(key) + " root@web\r\n" + noise.Draw(t, "within") + "\n" + end + noise.Draw(t, "after")
		if got := hostkey.In([]byte(console)); !slices.Equal(got, []hostkey.Key{key}) {
			t.Fatalf("found %q in %q, want %q", got, console, key)
		}
	})
}

func marshal(t *rapid.T, public any) hostkey.Key {
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return hostkey.Key(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))
}

// Whatever is on a console, what is found there are keys as ssh itself reads them,
// and they are taken from an agent.
func FuzzIn(f *testing.F) {
	private, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	key, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(list(ed, ec, string(ssh.MarshalAuthorizedKey(key)))))
	f.Add([]byte(begin + begin + ed + end + end))
	f.Add([]byte(list("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQA=")))
	f.Fuzz(func(t *testing.T, console []byte) {
		keys := hostkey.In(console)
		if err := hostkey.Check(keys); err != nil {
			t.Errorf("%q: %v", keys, err)
		}
		for _, k := range keys {
			read, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(k))
			if err != nil || comment != "" || len(options)+len(rest) > 0 || ssh.FingerprintSHA256(read) != k.Fingerprint() || strings.ContainsFunc(string(k), func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("%q: %v", k, err)
			}
		}
	})
}
