package worldtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
)

// FileSystem is a kind of file system, as mkfs(8) knows it.
type FileSystem string

// The file systems whose files can share blocks.
const (
	XFS   FileSystem = "xfs"
	Btrfs FileSystem = "btrfs"
)

// size of a file system, of which the host keeps what is used.
const size = 8 << 30

// On runs the calling test once more with a folder for temporary files, such as
// t.TempDir's, that is on a file system of that kind. It is seen by that process
// and its children alone. They end with it, also when a test is killed, and with
// the last of them go the file system and its loop device.
func On(t *testing.T, fs FileSystem) (inside bool) {
	t.Helper()
	return once(t, string(fs), func() world {
		disk := filepath.Join(t.TempDir(), "disk")
		dir, err := os.MkdirTemp("", string(fs)) //nolint:usetesting // short, for sockets will be in it
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			hypervisortest.Await(t, func() bool { return devices(t, disk) == "" })
			if err := os.Remove(dir); err != nil {
				t.Errorf("something is left where a file system was: %v", err)
			}
		})
		if err := os.WriteFile(disk, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(disk, size); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "mkfs."+string(fs), "-q", disk).CombinedOutput(); err != nil {
			t.Fatalf("make a file system: %v: %s", err, out)
		}
		enter := []string{
			"unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--mount",
			"sh", "-c", `mount -o loop "$0" "$1" && shift && exec "$@"`, disk, dir,
		}
		return world{enter: func(args ...string) []string { return append(enter, args...) }, env: []string{"TMPDIR=" + dir}}
	})
}

// devices returns the loop devices of a file.
func devices(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.Command("losetup", "--associated", file).CombinedOutput() //nolint:noctx // after the end of the test
	if err != nil {
		t.Errorf("losetup: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}
