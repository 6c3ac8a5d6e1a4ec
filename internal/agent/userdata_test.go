package agent_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/hostkey"
	hypervisorfake "github.com/cpucloud/cpucloud/internal/hypervisor/fake"
	"github.com/cpucloud/cpucloud/internal/userdata"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	secret  = "hunter2"
	given   = userdata.Text("#!/bin/sh\necho " + secret)
	hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
	nextKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBwVyhJAwCHMVJxhLPUZOuyFZQKNdgGWqI2ahVZO9wQ2"
)

// holding returns the agent's files that hold text, by path.
func (r *rig) holding(text string) []string {
	r.Helper()
	var found []string
	root := r.dir + "/agent"
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			name, _ := filepath.Rel(root, path)
			found = append(found, name)
			if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 {
				r.Errorf("%s can be read by others: %v %v", name, info.Mode(), err)
			}
		}
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// User data reaches the seed, and stays there over restarts though it is not ordered
// any more; it goes with the VM, and is told to nobody.
func TestUserDataIsKeptWithTheDisk(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		var log bytes.Buffer
		r.config.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		r.start()
		o := order("0xA", 1, ssh)
		o.UserData = given
		r.order(o)
		r.reaches("0xA", 1, vm.Ready)
		beside := []string{"vms/0xA/seed.iso", "vms/0xA/userdata.json"}
		if got, want := r.holding(secret), append([]string{"list.json"}, beside...); !slices.Equal(got, want) {
			t.Errorf("user data is in %v, want %v", got, want)
		}

		o.UserData = ""
		r.order(o)
		r.until(time.Minute, "the list is without it", func() bool { return slices.Equal(r.holding(secret), beside) })
		r.host.Kill("0xA", "the guest crashed")
		r.until(time.Minute, "it runs again", func() bool { return r.starts("0xA") == 2 && r.sighting("0xA").Phase == vm.Ready })
		r.halt()
		r.host.Restart()
		r.start()
		r.until(time.Minute, "and again", func() bool { return r.starts("0xA") == 3 && r.sighting("0xA").Phase == vm.Ready })
		if got := r.holding(secret); !slices.Equal(got, beside) {
			t.Errorf("user data is in %v, want %v still", got, beside)
		}

		o.Generation, o.Goal = 2, vm.Remove
		r.order(o)
		r.reaches("0xA", 2, vm.Absent)
		if got := r.holding(secret); len(got) > 0 {
			t.Errorf("user data is in %v of a VM that is removed", got)
		}
		if text := log.String() + fmt.Sprint(r.last); strings.Contains(text, secret) {
			t.Errorf("user data was told:\n%s", text)
		}
	})
}

// A launch that was cut after user data was kept, or before, makes the same seed.
func TestUserDataOfALaunchThatFails(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		var failed int
		r.config = agent.WithFault(r.config, func(step string) error {
			if strings.Contains(step, "userdata.json") && failed < 3 {
				failed++
				return errors.New("no space left")
			}
			return nil
		})
		r.start()
		o := order("0xA", 1, ssh)
		o.UserData = given
		r.order(o)
		r.reaches("0xA", 1, vm.Ready)
		if failed != 3 || !slices.Contains(r.holding(secret), "vms/0xA/seed.iso") {
			t.Errorf("%d writes failed, user data is in %v", failed, r.holding(secret))
		}
	})
}

// printed is what cloud-init prints of a key.
func printed(key string) string {
	return "-----BEGIN SSH HOST KEY KEYS-----\r\n" + key + " root@web\r\n-----END SSH HOST KEY KEYS-----\r\n"
}

// Host keys are told once they are printed, though that is after SSH answers; what
// is printed later is not believed, not even after a restart of all.
func TestHostKeysAreReadAtTheFirstBoot(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		o := order("0xA", 1, ssh)
		r.order(o)
		r.reaches("0xA", 1, vm.Ready)
		time.Sleep(time.Minute)
		if keys := r.sighting("0xA").HostKeys; keys != nil {
			t.Errorf("keys %q before any are printed", keys)
		}
		// A machine that is being listened to is served as any other.
		o.Generation, o.Ports = 2, []vm.Port{ssh, web}
		r.order(o)
		r.reaches("0xA", 2, vm.Ready)
		r.host.Say("0xA", []byte("\x1b[2J\x00 boot\r\n"+printed(hostKey)))
		known := func() bool { return slices.Equal(r.sighting("0xA").HostKeys, []hostkey.Key{hostKey}) }
		r.until(10*time.Second, "the key is told", known)
		r.host.Say("0xA", []byte(strings.Repeat("\n", 256<<10)+printed(nextKey)))
		time.Sleep(time.Hour)
		r.halt()
		r.start()
		time.Sleep(time.Hour)
		if !known() {
			t.Errorf("keys %q, want those of the first boot", r.sighting("0xA").HostKeys)
		}
	})
}

// A guest that prints none is listened to for a while, even if the console can't be
// read all that time, and the agent has rest then.
func TestGuestWithoutHostKeys(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.host.Fail(hypervisorfake.Console, errors.New("no such console"))
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		time.Sleep(20 * time.Minute)
		r.host.Fail(hypervisorfake.Console, nil)
		r.host.Say("0xA", []byte(printed(hostKey)))
		time.Sleep(time.Hour)
		if s := r.sighting("0xA"); s.HostKeys != nil || s.Phase != vm.Ready || s.Reason != "" {
			t.Errorf("seen as %+v, want it without keys", s)
		}
	})
}

// An agent that was away while they were printed finds them when it is back.
func TestHostKeysAreFoundLater(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		r.halt()
		r.host.Say("0xA", []byte(printed(hostKey)))
		time.Sleep(time.Hour)
		r.start()
		r.until(time.Minute, "the key is told", func() bool { return slices.Equal(r.sighting("0xA").HostKeys, []hostkey.Key{hostKey}) })
	})
}
