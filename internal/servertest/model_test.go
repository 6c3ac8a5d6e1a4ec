package servertest_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/servertest"
)

// keep is how long deleted VMs are kept here.
const keep = 24 * time.Hour

// How a VM's life goes, in the model.
type stage string

const (
	here stage = "here"
	kept stage = "kept" // deleted, and to be had back
	gone stage = "gone"
)

// guest is a VM in the model: what its customer may rely on.
type guest struct {
	id        string
	stage     stage
	off       bool
	protected bool
	rescue    bool
	until     time.Time // while it is kept
	gib       int64
	disk      int64               // the number of the one that it has
	disks     map[int64]uint64    // the files of all that must be there, by number: their inodes, 0 before they were seen
	parted    map[int64]time.Time // until when the others are kept
	snapshots []string
}

// world is the model, and the cloud that has to be as it is.
type world struct {
	*testing.T
	cloud  *servertest.Cloud
	agent  *servertest.Agent
	anna   *client.Client
	image  string
	chance *rand.Rand
	now    time.Time // of the cloud's clock, as far as it was moved
	guests []*guest
	asked  int
}

// action is what a customer does to a VM: when the model allows it, how it is asked for,
// and what follows.
type action struct {
	allowed func(g *guest) bool
	// possible is false for what is refused though it is allowed: there is nothing to do it
	// with, or too much. Nil is for always.
	possible func(g *guest) bool
	do       func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error)
	then     func(w *world, g *guest)
}

func on(g *guest) bool    { return g.stage == here && !g.off }
func off(g *guest) bool   { return g.stage == here && g.off }
func free(g *guest) bool  { return on(g) && !g.rescue } // to be started on another disk
func fewer(g *guest) bool { return len(g.parted) < 3 }

// actions are named as allowedActions names them.
var actions = map[string]action{
	"reboot": {allowed: on, do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
		return w.anna.RebootVM(ctx, g.id, request)
	}},
	"reset": {allowed: on, do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
		return w.anna.ResetVM(ctx, g.id, request)
	}},
	"shutdown": {allowed: on, do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
		return w.anna.ShutdownVM(ctx, g.id, request)
	}, then: func(_ *world, g *guest) { g.off = true }},
	"start": {allowed: off, do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
		return w.anna.StartVM(ctx, g.id, request)
	}, then: func(_ *world, g *guest) { g.off = false }},
	"resize": {allowed: func(g *guest) bool { return g.stage == here && !g.rescue }, do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
		return w.anna.ResizeVM(ctx, g.id, request, client.Size{Storage: g.gib + 1, MaxPrice: "100"})
	}, then: func(_ *world, g *guest) { g.gib++ }},
	"reinstall": {allowed: free, possible: fewer, do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
		return w.anna.ReinstallVM(ctx, g.id, client.Reinstall{}, request)
	}, then: func(w *world, g *guest) { w.turned(g, -1) }},
	"return": {allowed: free, possible: func(g *guest) bool { return len(g.parted) > 0 }, do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
		return w.anna.ReturnDisk(ctx, g.id, g.other(), request)
	}, then: func(w *world, g *guest) { w.turned(g, g.other()) }},
	"rescue": {allowed: free, do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
		return w.anna.RescueVM(ctx, g.id, client.Rescue{SSHKey: rescueKey, Image: w.image}, request)
	}, then: func(_ *world, g *guest) { g.rescue = true }},
	"unrescue": {allowed: func(g *guest) bool { return on(g) && g.rescue }, do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
		return w.anna.UnrescueVM(ctx, g.id, request)
	}, then: func(_ *world, g *guest) { g.rescue = false }},
	"snapshot": {allowed: func(g *guest) bool { return g.stage == here }, do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
		return w.anna.TakeSnapshot(ctx, g.id, "", request)
	}, then: func(w *world, g *guest) { w.copied(g) }},
	"restore": {allowed: free, possible: func(g *guest) bool { return fewer(g) && len(g.snapshots) > 0 }, do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
		return w.anna.RestoreVM(ctx, g.id, strings.Join(g.snapshots[:min(1, len(g.snapshots))], ""), request)
	}, then: func(w *world, g *guest) { w.turned(g, -1) }},
	"protect": {allowed: func(g *guest) bool { return g.stage == here && !g.protected }, do: func(ctx context.Context, w *world, g *guest, _ string) (client.Operation, error) {
		return client.Operation{}, w.anna.ProtectVM(ctx, g.id)
	}, then: func(_ *world, g *guest) { g.protected = true }},
	"unprotect": {allowed: func(g *guest) bool { return g.stage == here && g.protected }, do: func(ctx context.Context, w *world, g *guest, _ string) (client.Operation, error) {
		return client.Operation{}, w.anna.UnprotectVM(ctx, g.id)
	}, then: func(_ *world, g *guest) { g.protected = false }},
	"delete": {allowed: func(g *guest) bool { return g.stage == here && !g.protected }, do: func(ctx context.Context, w *world, g *guest, _ string) (client.Operation, error) {
		_, err := w.anna.DeleteVM(ctx, g.id, false)
		return client.Operation{}, err
	}, then: func(w *world, g *guest) { g.stage, g.until = kept, w.now.Add(keep) }},
	"undelete": {allowed: func(g *guest) bool { return g.stage == kept }, do: func(ctx context.Context, w *world, g *guest, request string) (client.Operation, error) {
		return w.anna.UndeleteVM(ctx, g.id, request)
	}, then: func(_ *world, g *guest) { g.stage, g.off = here, false }},
}

const rescueKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx1bmdmaXNobHVuZ2Zpc2hsdW5nZmlzaGx1bmdmaXNo rescue"

// other returns the disk that is kept longest, 1 where there is none.
func (g *guest) other() int64 {
	n := int64(1)
	for number, until := range g.parted {
		if n == 1 || until.After(g.parted[n]) || until.Equal(g.parted[n]) && number > n {
			n = number
		}
	}
	return n
}

// turned notes that a VM runs on another disk, a new one unless its number is told, and
// that the one it had is kept.
func (w *world) turned(g *guest, number int64) {
	w.Helper()
	all, err := w.anna.Disks(w.Context(), g.id)
	i := slices.IndexFunc(all, func(d client.Disk) bool { return d.Current })
	if err != nil || i < 0 || all[i].Number == g.disk || number >= 0 && all[i].Number != number {
		w.Fatalf("disks of %+v are %+v, %v", *g, all, err)
	}
	g.parted[g.disk] = w.now.Add(keep)
	g.disk = all[i].Number
	delete(g.parted, g.disk)
	if _, known := g.disks[g.disk]; !known {
		g.disks[g.disk] = 0
	}
}

// copied notes the snapshot that there is more of a VM.
func (w *world) copied(g *guest) {
	w.Helper()
	all, err := w.anna.Snapshots(w.Context(), g.id)
	if err != nil || len(all) != len(g.snapshots)+1 || all[len(all)-1].State != client.SnapshotAvailable {
		w.Fatalf("snapshots of %+v are %+v, %v", *g, all, err)
	}
	g.snapshots = append(g.snapshots, all[len(all)-1].ID)
}

// drops deletes the oldest snapshot of a VM, which harms no disk that was made of it.
func (w *world) drops(g *guest) {
	w.Helper()
	if len(g.snapshots) == 0 || g.stage != here {
		return
	}
	if err := w.anna.DeleteSnapshot(w.Context(), g.snapshots[0]); err != nil {
		w.Fatal(err)
	}
	g.snapshots = g.snapshots[1:]
	w.disturb()
	if !w.holds(30*time.Second, func() bool {
		all, err := w.anna.Snapshots(w.Context(), g.id)
		return err == nil && len(all) == len(g.snapshots)
	}) {
		w.Fatalf("a snapshot of %+v is still there", *g)
	}
}

// idempotent are the actions that may be asked for though nothing is left to be done.
var idempotent = []string{"protect", "unprotect"}

// Whatever customers do to their VMs, however often they ask, whoever dies meanwhile: each
// VM is what a simple model says, may do what it says, and no disk goes before its time.
func TestLifeModel(t *testing.T) {
	t.Parallel()
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("to repeat it: -chaos.seed=%d", seed)
	for n := range 3 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rand.New(rand.NewPCG(seed, uint64(n))))
			for range 40 {
				w.step()
			}
			w.end()
		})
	}
}

func newWorld(t *testing.T, chance *rand.Rand) *world {
	t.Helper()
	w := &world{T: t, chance: chance, now: time.Now()} //nolint:forbidigo // the cloud's clock begins there
	w.cloud = servertest.Start(t, servertest.Options{TestClock: true, KeepDeleted: keep})
	w.image = w.cloud.Demo()
	w.agent, w.anna = w.cloud.Agent(), w.cloud.Customer("100000")
	return w
}

// step does one thing at random, to one VM at random, and looks at all of them.
func (w *world) step() {
	w.Helper()
	alive := slices.DeleteFunc(slices.Clone(w.guests), func(g *guest) bool { return g.stage == gone })
	switch {
	case len(alive) == 0 || len(alive) < 3 && w.chance.IntN(4) == 0:
		w.deploys()
	case w.chance.IntN(12) == 0:
		w.passes(time.Duration(w.chance.IntN(30)) * time.Hour)
	case w.chance.IntN(12) == 0:
		w.dropsDisk(alive[w.chance.IntN(len(alive))])
	case w.chance.IntN(12) == 0:
		w.fails(alive[w.chance.IntN(len(alive))])
	case w.chance.IntN(12) == 0:
		w.purges(alive[w.chance.IntN(len(alive))])
	case w.chance.IntN(12) == 0:
		w.drops(alive[w.chance.IntN(len(alive))])
	default:
		names := slices.Sorted(maps.Keys(actions))
		w.acts(alive[w.chance.IntN(len(alive))], names[w.chance.IntN(len(names))])
	}
	w.look()
}

func (w *world) request() string {
	w.asked++
	return fmt.Sprintf("%s-%d", w.Name(), w.asked)
}

func (w *world) deploys() {
	w.Helper()
	d := wish(w.image)
	d.RequestID = w.request()
	id := deploy(w.T, w.anna, d)[0]
	w.disturb()
	if v, err := w.anna.WaitVM(w.Context(), id, client.StatusActive); err != nil || v.Status != client.StatusActive {
		w.Fatalf("deploy: %+v, %v", v, err)
	}
	w.guests = append(w.guests, &guest{id: id, stage: here, gib: 25, disks: map[int64]uint64{0: 0}, parted: map[int64]time.Time{}})
}

// passes has the time go by.
func (w *world) passes(d time.Duration) {
	w.Helper()
	w.cloud.Advance(d)
	w.now = w.now.Add(d)
	for _, g := range w.guests {
		if g.stage == kept && !g.until.After(w.now) {
			g.end()
		}
		for n, until := range g.parted {
			if !until.After(w.now) {
				delete(g.parted, n)
				delete(g.disks, n)
			}
		}
	}
}

// end notes that nothing of a VM need be there any more.
func (g *guest) end() { g.stage, g.disks, g.parted = gone, nil, nil }

// purges deletes a VM for good.
func (w *world) purges(g *guest) {
	w.Helper()
	_, err := w.anna.DeleteVM(w.Context(), g.id, true)
	if (err != nil) != g.protected {
		w.Fatalf("purge of a VM that is protected %t: %v", g.protected, err)
	}
	if err == nil {
		g.end()
	}
}

// acts asks for an action, maybe twice, maybe while something dies, and waits for it.
func (w *world) acts(g *guest, name string) {
	w.Helper()
	a, request := actions[name], w.request()
	what := fmt.Sprintf("%s of %+v", name, *g)
	if !a.allowed(g) || a.possible != nil && !a.possible(g) {
		if _, err := a.do(w.Context(), w, g, request); err == nil && !slices.Contains(idempotent, name) && !(name == "delete" && g.stage == kept) {
			w.Fatalf("%s was accepted", what)
		}
		return
	}
	o, err := a.do(w.Context(), w, g, request)
	if err != nil {
		w.Fatalf("%s: %v", what, err)
	}
	w.disturb()
	if again, err := a.do(w.Context(), w, g, request); o.ID != "" && (err != nil || again.ID != o.ID) {
		w.Fatalf("%s again: %+v, %v", what, again, err)
	}
	if o.ID != "" {
		if o, err = w.anna.WaitOperation(w.Context(), o.ID); err != nil || o.Outcome != client.OperationSucceeded {
			why := ""
			if o.Error != nil {
				why = *o.Error
			}
			w.Fatalf("%s: %s %s, %v", what, o.Outcome, why, err)
		}
	}
	if a.then != nil {
		a.then(w, g)
	}
}

// disturb has something die, or nothing.
func (w *world) disturb() {
	w.Helper()
	switch w.chance.IntN(6) {
	case 0:
		w.agent.Restart()
	case 1:
		w.cloud.StopServer()
		w.cloud.StartServer()
	case 2: // a power cut
		w.agent.Stop()
		w.agent.Machines.Restart()
		w.agent.Start()
	}
}

// look compares each VM with the model.
func (w *world) look() {
	w.Helper()
	why := ""
	if !w.holds(30*time.Second, func() bool { why = w.differs(); return why == "" }) {
		w.Fatal(why)
	}
	if why := w.lost(); why != "" {
		w.Fatal(why)
	}
}

// holds waits for cond.
func (w *world) holds(within time.Duration, cond func() bool) bool {
	ctx, cancel := context.WithTimeout(w.Context(), within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// differs says what is not as in the model, "" for nothing.
func (w *world) differs() string {
	present, err := w.anna.VMs(w.Context(), client.ListOptions{})
	if err != nil {
		return err.Error()
	}
	deleted, err := w.anna.DeletedVMs(w.Context())
	if err != nil {
		return err.Error()
	}
	running := w.agent.Running()
	for _, g := range w.guests {
		i := slices.IndexFunc(present, func(v client.VM) bool { return v.ID == g.id })
		j := slices.IndexFunc(deleted, func(v client.VM) bool { return v.ID == g.id })
		if i >= 0 != (g.stage == here) || j >= 0 != (g.stage == kept) {
			return fmt.Sprintf("%+v is listed %t, as deleted %t", *g, i >= 0, j >= 0)
		}
		if runs := running[g.id] > 0; runs != on(g) {
			return fmt.Sprintf("the machine of %+v runs: %t", *g, runs)
		}
		if files := w.files(g.id); g.stage == gone && len(files) > 0 {
			return fmt.Sprintf("of %+v are left %v", *g, files)
		}
		if n := w.odd(g); n >= 0 {
			return fmt.Sprintf("of %+v disk %d is left", *g, n)
		}
		if g.stage == gone {
			continue
		}
		list, at := present, i
		if g.stage == kept {
			list, at = deleted, j
		}
		if why := unlike(list[at], g); why != "" {
			return why
		}
	}
	return ""
}

// unlike says what of a VM is not as in the model, "" for nothing.
func unlike(v client.VM, g *guest) string {
	if g.stage == here && (v.Status != client.StatusActive || v.Protected != g.protected || v.Supply("STORAGE") != g.gib || v.Power == client.PowerOff != g.off) {
		return fmt.Sprintf("%+v is %+v", *g, v)
	}
	want := []string{}
	for name, a := range actions {
		if a.allowed(g) || name == "delete" && g.stage == kept {
			want = append(want, name)
		}
	}
	got := slices.DeleteFunc(slices.Clone(v.AllowedActions), func(name string) bool { _, known := actions[name]; return !known })
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Sprintf("%+v may %v, the model says %v", *g, got, want)
	}
	return ""
}

// lost says which disk is gone before its time, or is another one, "" for none.
func (w *world) lost() string {
	for _, g := range w.guests {
		files := w.files(g.id)
		for n, inode := range g.disks {
			switch now := files[n]; {
			case now == 0:
				return fmt.Sprintf("disk %d of %+v is gone: there are %v", n, *g, files)
			case inode == 0:
				g.disks[n] = now
			case now != inode:
				return fmt.Sprintf("disk %d of %+v is another file", n, *g)
			}
		}
	}
	return ""
}

// files returns the inodes of the disks of a VM that are on its server, by number.
func (w *world) files(id string) map[int64]uint64 {
	found := map[int64]uint64{}
	paths, err := filepath.Glob(filepath.Join(w.agent.Dir, "agent", "vms", id, "disk*.qcow2"))
	if err != nil {
		w.Fatal(err)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			continue // it is just being purged
		}
		var n int64
		name := strings.TrimSuffix(filepath.Base(path), ".qcow2")
		if name != "disk" {
			if _, err := fmt.Sscanf(name, "disk-%d", &n); err != nil {
				w.Fatalf("a disk is called %s", path)
			}
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			found[n] = stat.Ino
		}
	}
	return found
}

// end checks that all that is stored fits together, and that everything can be removed.
func (w *world) end() {
	w.Helper()
	found, err := w.cloud.Operator.Fsck(w.Context())
	if err != nil || len(found.Discrepancies) > 0 {
		w.Errorf("fsck: %+v, %v", found, err)
	}
	for _, g := range w.guests {
		if g.protected {
			if err := w.anna.UnprotectVM(w.Context(), g.id); err != nil {
				w.Fatal(err)
			}
			g.protected = false
		}
		if g.stage != gone {
			w.purges(g)
		}
	}
	w.look()
	w.cloud.Await("nothing is left", func() bool { return len(w.agent.Files())+len(w.agent.Links())+len(w.agent.Running()) == 0 })
}
