package seed_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/seed"
)

var routed = seed.Network{
	MAC: "52:54:00:12:34:56", Address: netip.MustParsePrefix("203.0.113.10/32"),
	Gateway:  netip.MustParseAddr("169.254.1.1"),
	Address6: netip.MustParsePrefix("2001:db8:1::a/128"), Gateway6: netip.MustParseAddr("fe80::1"),
	DNS: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
}

func example() seed.Seed {
	return seed.Seed{
		InstanceID: "0xabc", Hostname: "web-1", SSHKeys: []string{"ssh-ed25519 AAAAC3Nza me@example.org"},
		Network: routed, At: time.Unix(1700000000, 0),
	}
}

// read returns the files of a volume by their Rock Ridge names, as a guest
// finds them.
func read(t *testing.T, image []byte) map[string]string {
	t.Helper()
	const sector = 2048
	pvd := image[16*sector:]
	if got := string(pvd[1:6]); got != "CD001" {
		t.Fatalf("identifier = %q, want CD001", got)
	}
	if got := strings.TrimRight(string(pvd[40:72]), " "); got != "cidata" {
		t.Fatalf("label = %q, want cidata", got)
	}
	if got, want := int(binary.LittleEndian.Uint32(pvd[80:]))*sector, len(image); got != want {
		t.Errorf("volume says it has %d bytes, it has %d", got, want)
	}
	if len(image) < 80<<10 {
		t.Errorf("the disk has %d bytes, too few for findfs of busybox to look at it", len(image))
	}
	files := map[string]string{}
	dir := image[binary.LittleEndian.Uint32(pvd[158:])*sector:][:sector]
	for len(dir) > 0 && dir[0] != 0 {
		rec := dir[:dir[0]]
		dir = dir[dir[0]:]
		start, size := binary.LittleEndian.Uint32(rec[2:]), binary.LittleEndian.Uint32(rec[10:])
		if got := binary.BigEndian.Uint32(rec[6:]); got != start {
			t.Errorf("sector is %d in one byte order and %d in the other", start, got)
		}
		use := rec[33+int(rec[32])+(1-int(rec[32])%2):]
		for len(use) >= 4 {
			if string(use[:2]) == "NM" {
				files[string(use[5:use[2]])] = string(image[start*sector:][:size])
			}
			use = use[use[2]:]
		}
	}
	return files
}

func write(t *testing.T, s seed.Seed) map[string]string {
	t.Helper()
	var b bytes.Buffer
	if err := seed.Write(&b, s); err != nil {
		t.Fatal(err)
	}
	return read(t, b.Bytes())
}

func TestSeedHoldsWhatCloudInitReads(t *testing.T) {
	t.Parallel()

	files := write(t, example())
	want := map[string]string{
		"meta-data": "instance-id: \"0xabc\"\nlocal-hostname: \"web-1\"\npublic-keys:\n    - \"ssh-ed25519 AAAAC3Nza me@example.org\"\n",
		"user-data": `#cloud-config
hostname: "web-1"
ssh_authorized_keys:
    - "ssh-ed25519 AAAAC3Nza me@example.org"
preserve_hostname: false
manage_etc_hosts: localhost
users:
    - default
ssh_pwauth: false
ssh_deletekeys: true
growpart:
    mode: auto
    devices:
        - /
resize_rootfs: true
`,
		"network-config": `version: 2
ethernets:
    eth0:
        match:
            macaddress: "52:54:00:12:34:56"
        set-name: eth0
        dhcp4: false
        dhcp6: false
        accept-ra: false
        addresses:
            - "203.0.113.10/32"
            - "2001:db8:1::a/128"
        routes:
            - to: "169.254.1.1/32"
              via: "0.0.0.0"
            - to: "0.0.0.0/0"
              via: "169.254.1.1"
              on-link: true
            - to: "::/1"
              via: "fe80::1"
            - to: "8000::/1"
              via: "fe80::1"
        nameservers:
            addresses:
                - "192.0.2.1"
`,
	}
	if len(files) != len(want)+1 || files["vendor-data"] == "" {
		t.Errorf("the disk has %d files, want %d and vendor-data", len(files), len(want))
	}
	for name, text := range want {
		if files[name] != text {
			t.Errorf("%s =\n%s\nwant\n%s", name, files[name], text)
		}
	}
}

func TestNetworkKinds(t *testing.T) {
	t.Parallel()

	type card struct {
		DHCP4     bool             `yaml:"dhcp4"`
		Addresses []string         `yaml:"addresses"`
		Routes    []map[string]any `yaml:"routes"`
	}
	config := func(n seed.Network) card {
		s := example()
		s.Network = n
		var c struct{ Ethernets map[string]card }
		if err := yaml.Unmarshal([]byte(write(t, s)["network-config"]), &c); err != nil {
			t.Fatal(err)
		}
		return c.Ethernets["eth0"]
	}
	if c := config(seed.Network{DHCP: true, MAC: "52:54:00:00:00:01"}); !c.DHCP4 || c.Addresses != nil || c.Routes != nil {
		t.Errorf("DHCP: got %+v, want dhcp4 and nothing else", c)
	}
	inside := seed.Network{MAC: "52:54:00:00:00:01", Address: netip.MustParsePrefix("10.0.2.15/24"), Gateway: netip.MustParseAddr("10.0.2.2")}
	if c := config(inside); len(c.Routes) != 1 || c.DHCP4 || c.Routes[0]["via"] != "10.0.2.2" || c.Routes[0]["on-link"] != nil {
		t.Errorf("gateway inside the prefix: got %+v, want a route without on-link", c)
	}
}

// Whatever a customer writes stays one string on one line.
func TestTextStaysText(t *testing.T) {
	t.Parallel()

	for _, k := range []string{
		"ssh-rsa " + strings.Repeat("AAAA", 1000) + " a comment of many words, to be folded if anything is",
		`ssh-ed25519 AAAA quote " and \ back # slash: {a: b} [c] - & * ! | > ' % @`,
		"on", "1e3", "52:54:00:12:34:56", "- x", "null", "~", "ümlaut",
	} {
		s := example()
		s.SSHKeys = []string{k}
		user := write(t, s)["user-data"]
		var got struct {
			Keys []any `yaml:"ssh_authorized_keys"`
		}
		if err := yaml.Unmarshal([]byte(user), &got); err != nil {
			t.Fatalf("%q: %v", k, err)
		}
		if len(got.Keys) != 1 || got.Keys[0] != k {
			t.Errorf("key %q came back as %q", k, got.Keys)
		}
		if got, want := strings.Count(user, "\n"), strings.Count(write(t, example())["user-data"], "\n"); got != want {
			t.Errorf("key %q takes %d lines of user-data, want %d", k, got, want)
		}
	}
	for _, bad := range []string{"a\nb", "a\x00b", "a\x1b[31mb", "a\u202eb", "a\tb"} {
		s := example()
		s.SSHKeys = append(s.SSHKeys, bad)
		if err := seed.Write(&bytes.Buffer{}, s); !fault.Is(err, fault.Invalid) {
			t.Errorf("key %q: got %v, want an Invalid fault", bad, err)
		}
		s = example()
		s.Hostname = bad
		if err := seed.Write(&bytes.Buffer{}, s); !fault.Is(err, fault.Invalid) {
			t.Errorf("host name %q: got %v, want an Invalid fault", bad, err)
		}
	}
	s := example()
	s.SSHKeys = []string{strings.Repeat("x", 2<<20)}
	if err := seed.Write(&bytes.Buffer{}, s); !fault.Is(err, fault.Invalid) {
		t.Errorf("a key of 2 MiB: got %v, want an Invalid fault", err)
	}
}

// What is shorter than this is no file system to busybox's findfs.
func TestVolumeIsLongEnoughToBeFound(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := seed.Write(&b, seed.Seed{InstanceID: "i", Hostname: "h", At: time.Unix(0, 0)}); err != nil {
		t.Fatal(err)
	}
	if got, least := b.Len(), 68<<10; got < least {
		t.Errorf("the volume has %d bytes, want at least %d", got, least)
	}
}

func TestSameSeedSameBytes(t *testing.T) {
	t.Parallel()

	var a, b bytes.Buffer
	if err := seed.Write(&a, example()); err != nil {
		t.Fatal(err)
	}
	if err := seed.Write(&b, example()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the same seed gave different bytes")
	}
}

func TestWriteFileReplacesAndFollowsNothing(t *testing.T) {
	t.Parallel()

	dir := t.TempDir()
	secret, path := filepath.Join(dir, "secret"), filepath.Join(dir, "seed.iso")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".part"} { // what a rogue hypervisor could leave
		if err := os.Symlink(secret, name); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := seed.WriteFile(path, example()); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := os.ReadFile(secret); string(got) != "secret" {
		t.Error("the seed was written through a symbolic link")
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, image)["meta-data"]; !strings.Contains(got, "web-1") {
		t.Errorf("meta-data = %q, want the host name in it", got)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("the folder has %d files, want the seed and the secret", len(entries))
	}
}
