package image_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/image"
)

// attacks are what a qemu-img that a stranger has taken over would try. Each ends
// with 0 when it gets what it wants.
func attacks(t *testing.T) map[string][]string {
	t.Helper()
	open, shut := filepath.Join(t.TempDir(), "open"), filepath.Join(t.TempDir(), "shut")
	for path, mode := range map[string]os.FileMode{open: 0o666, shut: 0o600} {
		if err := os.WriteFile(path, []byte("the disk of another VM\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	sh := func(script string) []string { return []string{"/bin/sh", "-c", script} }
	perl := func(script string) []string { return []string{"/usr/bin/perl", "-MSocket", "-e", script} }
	return map[string][]string{
		"read what only root may":     sh("read x <" + shut),
		"read what everybody may":     sh("read x <" + open),
		"read the list of users":      sh("read x </etc/passwd"),
		"change what everybody may":   sh("echo x >>" + open),
		"make a file":                 sh("echo x >" + filepath.Join(filepath.Dir(open), "new")),
		"list a folder":               perl(`opendir(my $d, "/etc") or exit 1; exit !readdir($d)`),
		"look at another process":     sh("read x </proc/1/status"),
		"connect":                     perl(`socket(S, PF_INET, SOCK_STREAM, 0) or exit 1; exit !connect(S, sockaddr_in(` + port + `, inet_aton("127.0.0.1")))`),
		"make a socket of IP":         perl(`exit !socket(S, PF_INET, SOCK_DGRAM, 0)`),
		"make a socket of IPv6":       perl(`exit !socket(S, PF_INET6, SOCK_STREAM, 0)`),
		"make a local socket":         perl(`exit !socket(S, PF_UNIX, SOCK_STREAM, 0)`),
		"have secrets in environment": sh(`test -n "$CPUCLOUD_SECRET"`),
	}
}

// Whatever it runs, a child reads nothing, changes nothing but its file, and
// speaks to nobody. Outside of the confinement, each of these works.
func TestChildIsConfined(t *testing.T) {
	t.Setenv("CPUCLOUD_SECRET", "secret")
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	for name, a := range attacks(t) {
		if err := image.RunChild(t.Context(), f, a[0], a[1:]...); err == nil {
			t.Errorf("a child can %s", name)
		}
		if out, err := exec.CommandContext(t.Context(), a[0], a[1:]...).CombinedOutput(); err != nil {
			t.Errorf("nobody can %s, which shows nothing: %v: %s", name, err, out)
		}
	}
	if err := image.RunChild(t.Context(), f, "/bin/sh", "-c", "echo changed >/proc/self/fd/3"); err != nil {
		t.Errorf("a child can't change its file: %v", err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || string(got) != "changed\n" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || !owned(info) {
		t.Errorf("the file is not this user's any more: %v", err)
	}
	if os.WriteFile(f.Name(), nil, 0o600) != nil || exec.CommandContext(t.Context(), "/bin/sh", "-c", "read x </etc/passwd").Run() != nil {
		t.Error("this process is confined as well")
	}
}

// It has no rights, runs as nobody else does, and has no more than it needs.
func TestChildHasBounds(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	for what, script := range map[string]string{
		"privileges": `setpriv -d | grep -q "no_new_privs: 1"`,
		"user":       `test "$(id -u)" != 0`,
		"processor":  `test "$(ulimit -t)" = 30`,
		"memory":     `test "$(ulimit -v)" = 1048576`,
		"file size":  `test "$(ulimit -f)" = 131072`,
		"open files": `test "$(ulimit -n)" = 64`,
	} {
		if err := image.RunChild(t.Context(), f, "/bin/sh", "-c", script); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := image.RunChild(t.Context(), f, "/bin/sh", "-c", "head -c 100000000 /dev/zero >/proc/self/fd/3"); err == nil {
		t.Error("a child could write a file of 100 MB")
	}
	began := time.Now()
	if err := image.RunChild(t.Context(), f, "/nowhere/qemu-img"); err == nil || !strings.Contains(err.Error(), "/nowhere/qemu-img") {
		t.Errorf("a program that isn't there: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}
