package agent_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// changing returns an order to run a rig's ready VM 0xA on another disk, number 2, that is
// not given yet, and its disk.
func changing(r *rig) (o vm.Order, disk string) {
	o, disk = halting(r)
	o.Goal, o.Disk, o.Image = vm.Run, o.Generation, "https://images.test/b.qcow2"
	return o, disk
}

// unmade returns the number of the disk that 0xA can't have, -1 for none.
func (r *rig) unmade() int64 {
	if n := r.sighting("0xA").Unmade; n != nil {
		return *n
	}
	return -1
}

// The machine goes on while its next disk is made, and stops for no longer than a reboot:
// both disks stay, and the image of each is in use.
func TestAnotherDisk(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		asked := r.guest(9 * time.Second)
		o, disk := changing(r)
		r.disks.fetchTime = 10 * time.Minute
		before := r.starts("0xA")
		r.order(o)
		time.Sleep(9 * time.Minute)
		if s := r.sighting("0xA"); s.Phase != vm.Ready || s.Generation != 1 || r.starts("0xA") != before || asked() != 0 || r.tells("0xA", "of 600 MiB") != 1 {
			t.Errorf("while the image is fetched it is %+v, asked %d times", s, asked())
		}
		r.reaches("0xA", o.Generation, vm.Ready)
		files := r.disksOf("0xA")
		if s := r.sighting("0xA"); r.starts("0xA") != before+1 || asked() != 1 || s.Disk != 2 || len(s.Disks) != 2 || files["disk.qcow2"] != disk || files["disk-2.qcow2"] == "" {
			t.Errorf("%d starts, asked %d times, seen as %+v, files %v", r.starts("0xA")-before, asked(), s, files)
		}
		time.Sleep(2 * time.Hour)
		if _, kept := r.disks.pruned(); !kept {
			t.Error("the images don't count as in use")
		}
		if err := os.WriteFile(r.dir+"/agent/vms/0xA/base-2.json", []byte(`{"Digest":"of another image"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if _, kept := r.disks.pruned(); !kept {
			t.Error("the image of the disk that it had doesn't count as in use")
		}
	})
}

// A disk that can't be had is told, and changes nothing.
func TestDiskThatCanNotBeHad(t *testing.T) {
	t.Parallel()
	for why, tries := range map[error]int{
		fault.New(fault.Invalid, "that is no image"):            1,
		fault.New(fault.Unavailable, "the image does not come"): 7,
	} {
		bubble(t, func(r *rig) {
			o, disk := changing(r)
			before, fetches := r.starts("0xA"), r.disks.fetches
			r.disks.fail(why)
			r.order(o)
			r.until(5*time.Minute, "it is told", func() bool { return r.unmade() == 2 })
			time.Sleep(time.Hour)
			r.halt()
			r.start()
			time.Sleep(time.Hour)
			s := r.sighting("0xA")
			if s.Phase != vm.Ready || s.Generation != 1 || s.Disk != 0 || s.Reason != fault.Message(why) || r.disks.fetches-fetches != tries || r.starts("0xA") != before {
				t.Errorf("after %v it is %+v, %d fetches", why, s, r.disks.fetches-fetches)
			}
			r.host.Kill("0xA", "crash")
			r.until(time.Minute, "it runs again, on the disk that it has", func() bool { return r.starts("0xA") > before && r.sighting("0xA").Phase == vm.Ready })
			o.Generation, o.Disk = 3, 0
			r.order(o)
			r.reaches("0xA", 3, vm.Ready)
			if s := r.sighting("0xA"); s.Unmade != nil || s.Reason != "" || r.disk("0xA") != disk || len(r.disksOf("0xA")) != 1 {
				t.Errorf("in the end it is %+v with %v", s, r.disksOf("0xA"))
			}
		})
	}
}

// A disk that was there before is never made anew, whoever orders it, and the machine goes
// on with the one that it has; nor is a VM's own disk made for a rescue.
func TestLostDiskIsNotMadeAnew(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		o, _ := changing(r)
		r.order(o)
		r.reaches("0xA", 2, vm.Ready)
		if err := os.Remove(r.dir + "/agent/vms/0xA/disk.qcow2"); err != nil {
			t.Fatal(err)
		}
		before, made := r.starts("0xA"), r.disks.made
		o.Generation, o.Disk = 3, 0
		r.order(o)
		r.until(time.Minute, "it is told", func() bool { return r.unmade() == 0 })
		time.Sleep(time.Hour)
		if s := r.sighting("0xA"); s.Disk != 2 || s.Phase != vm.Ready || r.starts("0xA") != before || r.disks.made != made {
			t.Errorf("seen as %+v after %d disks were made", s, r.disks.made-made)
		}
		o.Generation, o.Rescue = 4, &vm.RescueSystem{Disk: 4, Image: o.Image, Key: "ssh-ed25519 once"}
		r.order(o)
		time.Sleep(time.Hour)
		if files := r.disksOf("0xA"); files["disk.qcow2"] != "" || files["disk-2.qcow2"] == "" {
			t.Errorf("its disks are %v", files)
		}
	})
}

// A machine that stops while its next disk is made is started on the one that it has.
func TestCrashWhileAnotherDiskIsMade(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		o, _ := changing(r)
		r.disks.fetchTime = time.Hour
		r.order(o)
		time.Sleep(time.Minute)
		r.host.Kill("0xA", "crash")
		r.halt()
		r.host.Restart()
		r.start()
		r.until(time.Minute, "it runs", func() bool { return r.sighting("0xA").Phase == vm.Ready && r.starts("0xA") > 0 })
		if s := r.sighting("0xA"); s.Disk != 0 || s.Generation != 1 {
			t.Errorf("seen as %+v, want it on its old disk", s)
		}
		o.Ports, o.Generation = []vm.Port{ssh, web}, 3
		r.order(o)
		r.until(time.Minute, "ports are changed meanwhile", func() bool { return len(r.links()[0].Ports) == 2 })
		if s := r.sighting("0xA"); s.Generation != 1 {
			t.Errorf("generation %d is told before it is on its disk", s.Generation)
		}
		r.until(2*time.Hour, "it is on the other one", func() bool { s := r.sighting("0xA"); return s.Generation == 3 && s.Phase == vm.Ready && s.Disk == 2 })
	})
}

// Host keys are of the disk that they were printed from, whatever was printed before.
func TestHostKeysOfEachDisk(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		o, _ := changing(r)
		is := func(disk int64, keys ...hostkey.Key) func() bool {
			return func() bool { s := r.sighting("0xA"); return s.Disk == disk && slices.Equal(s.HostKeys, keys) }
		}
		r.host.Say("0xA", []byte(printed(hostKey)))
		r.until(time.Minute, "the first key is told", is(0, hostKey))
		r.order(o)
		r.reaches("0xA", 2, vm.Ready)
		time.Sleep(10 * time.Minute)
		if !is(2)() {
			t.Errorf("before it has printed any the keys are %+v", r.sighting("0xA"))
		}
		r.host.Say("0xA", []byte(printed(nextKey)))
		r.until(time.Minute, "the second key is told", is(2, nextKey))
		o.Generation, o.Disk = 3, 0
		r.order(o)
		r.reaches("0xA", 3, vm.Ready)
		r.host.Say("0xA", []byte(printed(nextKey)))
		time.Sleep(time.Hour)
		r.halt()
		r.start()
		time.Sleep(time.Hour)
		if !is(0, hostKey)() {
			t.Errorf("back on the first disk it is %+v", r.sighting("0xA"))
		}
	})
}

// A new disk is another instance, given what the last one was given unless it gets something
// else; a rescue is given one key and nothing more.
func TestSeedOfEachDisk(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		o := order("0xA", 1, ssh)
		o.UserData, o.SSHKeys = given, []string{"ssh-ed25519 mine"}
		r.order(o)
		r.reaches("0xA", 1, vm.Ready)
		o.UserData, o.Generation, o.Disk, o.Heir = "", 2, 2, new(int64(0))
		r.order(o)
		r.reaches("0xA", 2, vm.Ready)
		seeds := func(instance, user, key string) {
			t.Helper()
			text, err := os.ReadFile(r.dir + "/agent/vms/0xA/seed.iso")
			if err != nil {
				t.Fatal(err)
			}
			for word, there := range map[string]bool{`instance-id: "` + instance + "\"\n": true, secret: user == secret, "something else": user == "something else", "ssh-ed25519 " + key: true} {
				if strings.Contains(string(text), word) != there {
					t.Errorf("the seed of %s has %q: %t", instance, word, !there)
				}
			}
			if key == "once" && strings.Contains(string(text), "ssh-ed25519 mine") {
				t.Error("the customer's own key is in the seed of a rescue")
			}
		}
		seeds("0xA-2", secret, "mine")
		o.UserData, o.Generation, o.Disk, o.Heir = "#!/bin/sh\necho something else", 3, 3, nil
		r.order(o)
		r.reaches("0xA", 3, vm.Ready)
		seeds("0xA-3", "something else", "mine")
		o.UserData, o.Generation, o.Rescue = "", 4, &vm.RescueSystem{Disk: 4, Image: "https://images.test/r.qcow2", Key: "ssh-ed25519 once"}
		r.order(o)
		r.reaches("0xA", 4, vm.Ready)
		seeds("0xA-4", "", "once")
		if asked := r.disks.asked(); asked.URL != o.Rescue.Image || asked.DiskBytes != vm.RescueGiB<<30 {
			t.Errorf("asked for %+v", asked)
		}
		m, _ := r.host.Machine("0xA")
		if len(m.Disks) != 3 || m.Disks[1].ReadOnly || m.Disks[1].Format != hypervisor.QCOW2 || m.Disks[1].Bytes != o.StorageGiB<<30 {
			t.Errorf("in rescue the disks are %+v", m.Disks)
		}
		o.Generation, o.Rescue, o.Disk, o.Purge = 5, nil, 0, []int64{2, 3, 4}
		r.order(o)
		r.reaches("0xA", 5, vm.Ready)
		seeds("0xA", secret, "mine")
		r.until(time.Minute, "what the others were given is gone with them", func() bool {
			return slices.Equal(r.holding(secret), []string{"vms/0xA/seed.iso", "vms/0xA/userdata.json"}) && len(r.holding("something else")) == 0
		})
	})
}

// Whatever lists come, old ones too, and whenever the agent dies: a disk goes only if an
// order has named it, and what a VM has by the newest order is there, as it was left.
func TestTheLastCopySurvives(t *testing.T) {
	t.Parallel()
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) { r.liveAtRandom(rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

// liveAtRandom gives a VM orders at random, some of them once more.
func (r *rig) liveAtRandom(dice *rand.Rand) {
	o := order("0xA", 1, ssh)
	given := []vm.Order{o}
	named, contents := map[int64]bool{}, map[string]string{}
	r.start()
	r.order(o)
	r.reaches("0xA", 1, vm.Ready)
	for range 14 {
		switch o.Generation++; dice.IntN(6) {
		case 0:
			o.Disk = o.Generation
		case 1:
			if there := r.sighting("0xA").Disks; len(there) > 0 && o.Rescue == nil {
				if n := there[dice.IntN(len(there))].Number; !named[n] {
					o.Disk = n
				}
			}
		case 2:
			for _, d := range r.sighting("0xA").Disks {
				if d.Number != o.Disk && d.Number != o.Boots() && dice.IntN(2) == 0 {
					o.Purge, named[d.Number] = append(slices.Clone(o.Purge), d.Number), true
				}
			}
		case 3:
			if o.Rescue == nil {
				o.Rescue = &vm.RescueSystem{Disk: o.Generation, Image: o.Image, Key: "k"}
			} else {
				named[o.Rescue.Disk] = true
				o.Purge, o.Rescue = append(slices.Clone(o.Purge), o.Rescue.Disk), nil
			}
		case 4:
			o.Goal = map[vm.Goal]vm.Goal{vm.Run: vm.Halt, vm.Halt: vm.Run}[o.Goal]
		case 5:
			r.disks.fail(map[bool]error{true: errors.New("no image just now")}[dice.IntN(2) == 0])
		}
		given = append(given, o)
		for _, next := range []vm.Order{o, given[dice.IntN(len(given))], o} {
			r.order(next)
			time.Sleep(time.Duration(dice.IntN(20)) * time.Second)
			if dice.IntN(4) == 0 {
				r.halt()
				if dice.IntN(2) == 0 {
					r.host.Restart()
				}
				r.start()
			}
			r.keeps(named, contents)
		}
	}
	r.disks.fail(nil)
	o.Generation, o.Goal, o.Disk, o.Rescue = o.Generation+1, vm.Run, r.sighting("0xA").Disk, nil
	r.order(o)
	r.reaches("0xA", o.Generation, vm.Ready)
	r.keeps(named, contents)
	r.halt()
}

// keeps checks that the disks are there that were there and that no order has named, as
// they were.
func (r *rig) keeps(named map[int64]bool, contents map[string]string) {
	r.Helper()
	now := r.disksOf("0xA")
	for file, content := range contents {
		var n int64
		_, _ = fmt.Sscanf(file, "disk-%d.qcow2", &n)
		if now[file] != content && !named[n] {
			r.Fatalf("%s was %q, is %q, and no order has named it", file, content, now[file])
		}
	}
	for file, content := range now {
		if strings.HasSuffix(file, ".qcow2") && content != "" {
			contents[file] = content
		}
	}
}
