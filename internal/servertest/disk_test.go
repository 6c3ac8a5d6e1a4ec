package servertest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/servertest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// The disk of the database fills up and has room again, turns read-only, fails to
// sync or to write: requests are refused meanwhile, the server goes on by itself
// afterwards, and what was asked for is done once.
func TestDiskTrouble(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("strace fails a process's system calls for this test; `make deps-test` installs it: %v", err)
	}
	for name, trouble := range map[string]string{ // counted in each thread of the process
		"full":                  "pwrite64:error=ENOSPC:when=20..40",
		"read-only":             "pwrite64,openat:error=EROFS:when=20..40",
		"writes that fail":      "pwrite64:error=EIO:when=15+211",
		"a sync that fails":     "fsync,fdatasync:error=EIO:when=5",
		"syncs that all fail":   "fsync,fdatasync:error=EIO:when=5..15",
		"a sync that is killed": "fsync,fdatasync:signal=SIGKILL:when=9",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			troubled(t, strace, trouble)
		})
	}
}

func troubled(t *testing.T, strace, trouble string) {
	t.Helper()
	c := newChaos(t)
	trace := filepath.Join(t.TempDir(), "trace")
	database := filepath.Join(c.cloud.Dir, "cloud.db")
	control := newProcessUnder(t, []string{
		strace, "-f", "-qqq", "-A", "-o", trace, "-P", database, "-P", database + "-wal", "-e", "trace=pwrite64,fsync,fdatasync,openat", "-e", "inject=" + trouble,
	}, "control", listenVariable+"="+c.cloud.URL[len("http://"):], dirVariable+"="+c.cloud.Dir)
	const requests = 40
	refused := 0
	for n := range requests {
		d := wish(c.images[0])
		d.RequestID = fmt.Sprint("request ", n)
		for tries := 0; ; tries++ {
			made, err := c.anna.Deploy(t.Context(), d)
			if err == nil {
				c.fates[made[0].ID] = client.StatusNew
				break
			}
			refused++
			if answer, ok := errors.AsType[*client.Error](err); ok && answer.Status < 500 || tries == 200 {
				t.Fatalf("request %d, try %d: %v", n, tries, err)
			}
			control.revive()
		}
	}
	control.kill()
	calls, err := os.ReadFile(trace)
	if err != nil || !bytes.Contains(calls, []byte("(INJECTED)")) && !bytes.Contains(calls, []byte("SIGKILL")) {
		t.Errorf("the disk had no trouble: %v", err)
	}
	t.Logf("%d requests were refused", refused)
	books := servertest.Audit(t, database, c.account)
	if len(books.VMs) != requests || len(c.fates) != requests || books.Taken.Addresses != requests {
		t.Errorf("%d VMs, %d acknowledged, %s taken; want %d", len(books.VMs), len(c.fates), books.Taken, requests)
	}
	for _, v := range books.VMs {
		if c.fates[v.ID] == "" || v.State != vm.New || v.Reserved != 2*price {
			t.Errorf("VM %s, acknowledged: %t, is %s with a reserve of %s", v.ID, c.fates[v.ID] != "", v.State, v.Reserved)
		}
	}
}
