package agent_test

import (
	"crypto/ed25519"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	hypervisorfake "github.com/cpucloud/cpucloud/internal/hypervisor/fake"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// takeOver puts a folder of testdata in the place of the rig's, with the identity
// that is in it.
func (r *rig) takeOver(name string) {
	r.Helper()
	if err := os.RemoveAll(filepath.Join(r.dir, "agent")); err != nil {
		r.Fatal(err)
	}
	from := filepath.Join("testdata", name)
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		to := filepath.Join(r.dir, strings.TrimPrefix(path, from))
		if err != nil || d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, []byte(strings.ReplaceAll(string(text), "FOLDER", r.dir)), 0o600)
	})
	if err != nil {
		r.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "agent", "identity.json"))
	if err != nil {
		r.Fatal(err)
	}
	var kept struct{ Seed []byte }
	if err := json.Unmarshal(text, &kept); err != nil {
		r.Fatal(err)
	}
	r.control.mu.Lock()
	defer r.control.mu.Unlock()
	r.agent = ed25519.NewKeyFromSeed(kept.Seed).Public().(ed25519.PublicKey)
}

// An agent that is upgraded finds what the one before has kept: its VM runs on,
// untouched, and is ready at once; after a start of the host it comes back on its
// disk. Folders in testdata are as agents of the past wrote them: they are never
// changed, only added to.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	folders, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, f := range folders {
		if !strings.HasPrefix(f.Name(), "folder-") {
			continue
		}
		tried++
		t.Run(f.Name(), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) { upgrade(r, f.Name()) })
		})
	}
	if tried == 0 {
		t.Error("there is no folder of the past")
	}
}

func upgrade(r *rig, name string) {
	r.takeOver(name)
	disk := r.disk("0xA")
	near, far, err := hypervisortest.Socket()
	if err != nil {
		r.Fatal(err)
	}
	defer func() { _ = far.Close() }()
	machine := hypervisortest.Machine(r.T, r.TempDir(), "0xA", near) // as the old agent had started it
	if err := hypervisorfake.New(r.host).Ensure(r.Context(), machine); err != nil {
		r.Fatal(err)
	}
	r.change(func(l *vm.List) { l.Orders = []vm.Order{order("0xA", 1, ssh)} })
	r.mu.Lock()
	r.mute["127.77.0.1"] = true // it need not prove itself again
	r.mu.Unlock()
	r.setAway(true)
	r.start()
	time.Sleep(time.Minute)
	if r.starts("0xA") != 1 || r.disk("0xA") != disk || disk == "" {
		r.Errorf("start %d, disk %q; want the machine untouched on %q", r.starts("0xA"), r.disk("0xA"), disk)
	}
	r.setAway(false)
	r.reaches("0xA", 1, vm.Ready)
	if story := r.story("0xA"); !strings.Contains(story, "image fetched and checked") || !strings.Contains(story, "SSH answered after 6s") {
		r.Errorf("story of before:\n%s", story)
	}
	r.halt()
	r.mute = map[string]bool{}
	r.newHost()
	r.start()
	r.until(time.Minute, "runs again", func() bool { return r.starts("0xA") == 1 })
	r.reaches("0xA", 1, vm.Ready)
	if m, _ := r.host.Machine("0xA"); r.disk("0xA") != disk || r.disks.fetches+r.disks.made != 0 || m.NIC.MAC != "52:54:00:"+macEnd {
		r.Errorf("disk %q, was %q; %d fetches, %d disks made; card %s", r.disk("0xA"), disk, r.disks.fetches, r.disks.made, m.NIC.MAC)
	}
}

// macEnd is what the card of 0xA has ever been.
const macEnd = "88:43:79"
