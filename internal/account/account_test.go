package account_test

import (
	"bytes"
	"crypto"
	"crypto/dsa" //nolint:staticcheck // old keys have to be refused
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// line returns a public key as ssh-keygen writes it, without a comment.
func line(t *testing.T, key any) string {
	t.Helper()
	public, err := ssh.NewPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

func ed25519Key(t *testing.T) (public string, private crypto.PrivateKey) {
	t.Helper()
	p, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return line(t, p), k
}

func ecdsaKey(t *testing.T, curve elliptic.Curve) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return line(t, &k.PublicKey)
}

func TestParseSSHKey(t *testing.T) {
	t.Parallel()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ed, _ := ed25519Key(t)
	for algorithm, key := range map[string]string{
		"ssh-rsa": line(t, &r.PublicKey), "ssh-ed25519": ed, "ecdsa-sha2-nistp256": ecdsaKey(t, elliptic.P256()),
		"ecdsa-sha2-nistp384": ecdsaKey(t, elliptic.P384()), "ecdsa-sha2-nistp521": ecdsaKey(t, elliptic.P521()),
	} {
		blob, err := base64.StdEncoding.DecodeString(strings.Fields(key)[1])
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(blob)
		want := account.SSHKey{Algorithm: algorithm, PublicKey: key, Fingerprint: "SHA256:" + base64.RawStdEncoding.EncodeToString(digest[:])}
		for _, comment := range []string{"", "anna@laptop", "it's Änna's key, \"the\" 2nd #1"} {
			want.Comment, want.PublicKey = comment, strings.TrimSpace(key+" "+comment)
			for _, given := range []string{want.PublicKey, want.PublicKey + "\n", "\r\n " + want.PublicKey + " \n"} {
				if got, err := account.ParseSSHKey(given); err != nil || got != want {
					t.Errorf("%q: got %+v, %v, want %+v", given, got, err, want)
				}
			}
		}
	}
}

func TestParseSSHKeyRefuses(t *testing.T) {
	t.Parallel()
	good, private := ed25519Key(t)
	other := ecdsaKey(t, elliptic.P256())
	blob := strings.Fields(good)[1]
	bytesOf, err := base64.StdEncoding.DecodeString(blob)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(b []byte) string { return "ssh-ed25519 " + base64.StdEncoding.EncodeToString(b) }
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	secret := string(pem.EncodeToMemory(block))
	old := line(t, &dsa.PublicKey{
		Parameters: dsa.Parameters{P: new(big.Int).Lsh(big.NewInt(1), 1023), Q: new(big.Int).Lsh(big.NewInt(1), 159), G: big.NewInt(2)}, Y: big.NewInt(3),
	})
	for name, bad := range map[string]string{
		"nothing":               "",
		"white space":           " \n\t ",
		"a name":                "laptop",
		"a fingerprint":         "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
		"an algorithm":          "ssh-ed25519",
		"a blob":                blob,
		"another algorithm":     "ssh-rsa " + blob,
		"the other's algorithm": "ssh-ed25519 " + strings.Fields(other)[1],
		"an unknown algorithm":  "ssh-new " + blob,
		"an old algorithm":      old,
		"a blob cut off":        encode(bytesOf[:len(bytesOf)-1]),
		"a blob and more":       encode(append(bytes.Clone(bytesOf), 0)),
		"base64 cut off":        good[:len(good)-1],
		"no base64":             "ssh-ed25519 !!!!",
		"a private key":         secret,
		"half a private key":    strings.SplitAfter(secret, "\n")[0],
		"a private key, in one": strings.ReplaceAll(secret, "\n", " "),
		"a command":             `command="rm -rf /" ` + good,
		"an option":             "no-pty " + good,
		"two lines":             good + "\n" + other,
		"two lines of Windows":  good + "\r\n" + other,
		"a line and a command":  good + " anna\nrm -rf /",
		"a comment line":        "# " + good,
		"a tab":                 "ssh-ed25519\t" + blob,
		"a NUL":                 good + " a\x00b",
		"an escape":             good + " \x1b[31m",
		"a turn of direction":   good + " \u202egnp.exe",
		"a line separator":      good + " a\u2028b",
		"no UTF-8":              good + " \xff",
		"too long":              good + " " + strings.Repeat("x", 16<<10),
		"a certificate":         "ssh-ed25519-cert-v01@openssh.com " + blob,
		"a key of hardware":     "sk-ssh-ed25519@openssh.com " + blob,
	} {
		got, err := account.ParseSSHKey(bad)
		if !fault.Is(err, fault.Invalid) || got != (account.SSHKey{}) {
			t.Errorf("%s: got %+v, %v, want a fault of kind invalid", name, got, err)
		}
		if len(fault.Message(err)) > 120 || strings.Contains(fault.Message(err), blob) {
			t.Errorf("%s: the fault repeats what was given: %s", name, fault.Message(err))
		}
	}
	if _, err := account.ParseSSHKey(secret); !strings.Contains(fault.Message(err), "private") {
		t.Errorf("got %v, want a warning about a private key", err)
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "Änna's 2nd laptop", strings.Repeat("x", 100)} {
		if err := account.CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", 101), "a\nb", "a\x00", "\u202ea", "\xff"} {
		if err := account.CheckName(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v, want a fault of kind invalid", bad, err)
		}
	}
}

func TestHashKey(t *testing.T) {
	t.Parallel()
	if a, b := account.HashKey("cpu_1"), account.HashKey("cpu_2"); a == b || len(a) != 64 || strings.Contains(a, "cpu") {
		t.Errorf("got %s and %s", a, b)
	}
}

func TestRequireOperator(t *testing.T) {
	t.Parallel()
	for role, kind := range map[account.Role]fault.Kind{account.Operator: "", account.Customer: fault.Denied, "": fault.Denied, "OPERATOR": fault.Denied} {
		if err := (account.Actor{Role: role}).RequireOperator(); fault.KindOf(err) != kind {
			t.Errorf("%q: got %v, want kind %q", role, err, kind)
		}
	}
}
