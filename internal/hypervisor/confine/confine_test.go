package confine_test

import (
	"bytes"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/hypervisor/confine"
)

// A program that is to end with its parent doesn't begin when that ended before
// anything could tell it so.
func TestParent(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread() // the programs end with it
	defer runtime.UnlockOSThread()
	spec := confine.Spec{}
	if os.Getuid() == 0 { // in namespaces it sees neither its number nor its parent's
		spec = confine.Spec{User: 0x70000000, Isolated: true, Root: t.TempDir(), Show: []string{"/usr", "/bin", "/lib", "/lib64"}}
	}
	const gone = 1 << 30 // more than the kernel counts processes to
	for parent, want := range map[int]string{os.Getpid(): "", 0: "", gone: "it is gone"} {
		spec.Parent = parent
		cmd, err := spec.Command(t.Context(), []string{"/proc/self/exe", confine.Helper}, "/bin/true")
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err = cmd.Run()
		if (err != nil) != (want != "") || !strings.Contains(out.String(), want) {
			t.Errorf("parent %d: %v, %s; want %q", parent, err, &out, want)
		}
	}
}
