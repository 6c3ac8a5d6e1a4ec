// Package cgroup bounds what machines take of their host: processor time,
// memory, processes, and their share of its disks. It uses control groups of
// version 2 for each controller that is there, and of version 1 for the rest.
//
// Where systemd runs, groups are its to make: each machine gets a scope, see
// Systemd. Elsewhere all machines of a data folder are below one group, see Tree:
//
//	cpucloud/<name of the folder>/<machine>
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of one machine.
type Limits struct {
	VCPU     int   // its share of the processors grows with them
	Memory   int64 // bytes, with what it makes the kernel cache
	PIDs     int   // processes and threads
	IOWeight int   // its share of the disks, 1 to 10000; 0 is the usual 100
}

// quota returns the processor time that a machine may take, in microseconds of
// each period: its vCPUs, and a quarter of one for the devices that are emulated
// beside them. 100 ms is the kernel's own choice of a period.
func (l Limits) quota() (quota, period int) {
	const each = 100_000
	return l.VCPU*each + each/4, each
}

// weight is relative to other machines, 100 for one vCPU.
func (l Limits) weight() int { return min(100*max(l.VCPU, 1), 10_000) }

// controllers that Limits are about, by their names in version 2.
var controllers = []string{"cpu", "memory", "pids", "io"}

// top is the group of everything that this package makes.
const top = "cpucloud"

// Tree makes groups by the kernel's file systems.
type Tree struct {
	mu      sync.Mutex // keeps empty groups from going while something is made in them
	name    string
	v2      string            // where version 2 is mounted
	places  map[string]string // controller to where it is mounted
	missing []string
}

// Open returns a tree whose groups are below name. proc is where the proc file
// system is; it says what is mounted. Choose is for who wants groups.
func Open(proc, name string) (*Tree, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(proc, "self", "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("look for control groups: %w", err)
	}
	t := &Tree{name: name, places: map[string]string{}}
	v1 := map[string]string{}
	for line := range strings.Lines(string(text)) {
		place, kind, options := mount(line)
		switch kind {
		case "cgroup2":
			t.v2 = place
		case "cgroup":
			for option := range strings.SplitSeq(options, ",") {
				v1[option] = place
			}
		}
	}
	given, _ := os.ReadFile(filepath.Join(t.v2, "cgroup.controllers"))
	for _, c := range controllers {
		old := c
		if c == "io" {
			old = "blkio"
		}
		switch {
		case t.v2 != "" && slices.Contains(strings.Fields(string(given)), c):
			t.places[c] = t.v2
		case v1[old] != "":
			t.places[c] = v1[old]
		default:
			t.missing = append(t.missing, c)
		}
	}
	return t, nil
}

// mount reads a line of proc_pid_mountinfo(5).
func mount(line string) (place, kind, options string) {
	before, after, ok := strings.Cut(line, " - ")
	left, right := strings.Fields(before), strings.Fields(after)
	if !ok || len(left) < 5 || len(right) < 3 {
		return "", "", ""
	}
	return left[4], right[0], right[2]
}

// Missing implements Groups.
func (t *Tree) Missing() []string { return t.missing }

// String implements Groups.
func (t *Tree) String() string { return "control groups that the agent makes" }

// Enter implements Groups. Where there are no control groups at all it is an error.
func (t *Tree) Enter(_ context.Context, id string, pid int, l Limits) error {
	dirs, err := t.group(id, l)
	if err != nil {
		return err
	}
	if len(dirs) == 0 {
		return errors.New("no control groups are mounted here")
	}
	for _, dir := range dirs {
		if err := write(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("enter control group: %w", err)
		}
	}
	return nil
}

// group makes the group of machine id, or brings its limits up to date, and
// returns the folders that are it.
func (t *Tree) group(id string, l Limits) (dirs []string, err error) {
	if err := checkName(id); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range controllers {
		place, ok := t.places[c]
		if !ok {
			continue
		}
		dir, err := t.make(c, place, id)
		for range 3 { // another agent may remove what was empty
			if !errors.Is(err, fs.ErrNotExist) {
				break
			}
			dir, err = t.make(c, place, id)
		}
		if err != nil {
			return nil, fmt.Errorf("make control group for %s: %w", c, err)
		}
		if err := t.limit(c, dir, place == t.v2, l); err != nil {
			return nil, fmt.Errorf("limit %s: %w", c, err)
		}
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// make makes the folder of id for controller c, which version 2 hands down from
// group to group.
func (t *Tree) make(c, place, id string) (string, error) {
	dir := place
	for _, part := range []string{top, t.name, id} {
		if place == t.v2 {
			if err := write(dir, "cgroup.subtree_control", "+"+c); err != nil {
				return "", err
			}
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as the kernel's own
			return "", err
		}
		if c == "cpu" && part != id {
			share := weigh(100*runtime.NumCPU(), place == t.v2)
			if err := write(dir, share[0], share[1]); err != nil {
				return "", err
			}
		}
	}
	return dir, nil
}

// weigh returns the file and the text that give a group a weight among its
// neighbours, 100 for that of one process beside it. The groups above machines
// weigh as much as a process on each processor of the host: with the usual weight
// all machines together would get no more than one process of the host.
func weigh(weight int, v2 bool) [2]string {
	const usual = 1024 // shares where version 2 has a weight of 100
	if v2 {
		return [2]string{"cpu.weight", strconv.Itoa(min(weight, 10_000))}
	}
	return [2]string{"cpu.shares", strconv.Itoa(weight * usual / 100)}
}

// limit writes the limits of controller c into dir.
func (t *Tree) limit(c, dir string, v2 bool, l Limits) error {
	for _, s := range l.settings(c, v2) {
		err := write(dir, s[0], s[1])
		if c == "io" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EOPNOTSUPP)) {
			continue // the host's scheduler of disks knows no weights
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settings returns file and text of each setting. The names are those of
// Documentation/admin-guide/cgroup-v2.rst and cgroup-v1 in the kernel's source.
func (l Limits) settings(c string, v2 bool) [][2]string {
	number := strconv.Itoa
	quota, period := l.quota()
	switch {
	case c == "cpu" && v2:
		return [][2]string{weigh(l.weight(), v2), {"cpu.max", number(quota) + " " + number(period)}}
	case c == "cpu":
		return [][2]string{weigh(l.weight(), v2), {"cpu.cfs_period_us", number(period)}, {"cpu.cfs_quota_us", number(quota)}}
	case c == "memory" && v2:
		return [][2]string{{"memory.max", strconv.FormatInt(l.Memory, 10)}, {"memory.oom.group", "1"}}
	case c == "memory":
		return [][2]string{{"memory.limit_in_bytes", strconv.FormatInt(l.Memory, 10)}}
	case c == "pids":
		return [][2]string{{"pids.max", number(l.PIDs)}}
	case c == "io" && l.IOWeight > 0 && v2:
		return [][2]string{{"io.weight", "default " + number(l.IOWeight)}}
	case c == "io" && l.IOWeight > 0:
		return [][2]string{{"blkio.bfq.weight", number(min(l.IOWeight, 1000))}}
	}
	return nil
}

// leaving is how long the kernel may be at work on processes after their end was
// seen: until then their group is busy.
const leaving = 5 * time.Second

// Remove implements Groups. Those above go as well when they are empty then.
func (t *Tree) Remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, leaving)
	defer cancel()
	return t.remove(ctx, id)
}

// remove removes the group of id, which may be busy until ctx is done.
func (t *Tree) remove(ctx context.Context, id string) error {
	if err := checkName(id); err != nil {
		return err
	}
	var failed []error
	for _, place := range t.mounts() {
		group := filepath.Join(place, top, t.name)
		if err := removeGroup(ctx, filepath.Join(group, id)); err != nil {
			failed = append(failed, fmt.Errorf("remove control group: %w", err))
		}
		t.mu.Lock()
		if os.Remove(group) == nil { // or others are in it
			_ = os.Remove(filepath.Dir(group))
		}
		t.mu.Unlock()
	}
	return errors.Join(failed...)
}

func removeGroup(ctx context.Context, dir string) error {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := os.Remove(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// Sweep implements Groups. Nobody waits for a group that is busy: the next one may
// find it empty.
func (t *Tree) Sweep(ctx context.Context, keep func(id string) bool) error {
	now, cancel := context.WithCancel(ctx)
	cancel()
	var failed []error
	for _, place := range t.mounts() {
		entries, err := os.ReadDir(filepath.Join(place, top, t.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
		for _, e := range entries {
			if e.IsDir() && !keep(e.Name()) {
				failed = append(failed, t.remove(now, e.Name()))
			}
		}
	}
	return errors.Join(failed...)
}

// mounts returns where groups may be, each place once.
func (t *Tree) mounts() []string {
	var all []string
	for _, c := range controllers {
		if place, ok := t.places[c]; ok && !slices.Contains(all, place) {
			all = append(all, place)
		}
	}
	return all
}

// write writes into a file that the kernel has made.
func write(dir, name, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// checkName refuses what would name another folder.
func checkName(name string) error {
	if name == "" || strings.ContainsAny(name, "/\x00") || strings.HasPrefix(name, ".") {
		return fmt.Errorf("%q can't name a control group", name)
	}
	return nil
}
