package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

const (
	// slice is the unit that all scopes are in. Who wants to bound all machines
	// together sets limits of it.
	slice = top + ".slice"

	// agent is the service that starts scopes. When the host goes down it ends before
	// them: it would take them for machines that have failed.
	agent = "cpucloud-agent.service"

	// oldest is the version of systemd from which on all that is asked of it is
	// known: CollectMode came with 236, and 240 made an end of legacy names.
	oldest = 240

	// patience is how long systemd may take for an answer while it reads its units
	// anew.
	patience = 20 * time.Second
)

// Systemd has systemd make groups: a scope, systemd.scope(5), for each machine.
// A scope belongs to no service, so that the agent's may end and start again. It
// is made for a process and ends with its last one.
type Systemd struct {
	root    string // of the host's file system
	name    string
	version int
	tree    *Tree // what an agent without systemd may have left
}

// scopes returns what has systemd make groups, nil where systemd doesn't run. An
// error says why it can't be had where it does.
func scopes(ctx context.Context, root string, t *Tree) (*Systemd, error) {
	if !booted(root) {
		return nil, nil //nolint:nilnil // no systemd is no error
	}
	s := &Systemd{root: root, name: t.name, tree: t}
	return s, s.talk(ctx, func(_ context.Context, b bus) error {
		text, err := b.GetManagerProperty("Version")
		if err != nil {
			return fmt.Errorf("ask systemd for its version: %w", err)
		}
		s.version, err = versionOf(text)
		return err
	})
}

// booted is sd_booted(3).
func booted(root string) bool {
	info, err := os.Lstat(filepath.Join(root, "run/systemd/system"))
	return err == nil && info.IsDir()
}

// versionOf reads a version such as "252.39-1~deb12u2", as a D-Bus value in text.
func versionOf(text string) (int, error) {
	digits := strings.TrimPrefix(strings.Trim(text, `"`), "v")
	if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = digits[:i]
	}
	version, err := strconv.Atoi(digits)
	if err != nil {
		return 0, fmt.Errorf("systemd says that its version is %.40q", text)
	}
	if version < oldest {
		return 0, fmt.Errorf("systemd %d or newer is needed, it is %d", oldest, version)
	}
	return version, nil
}

// String implements Groups.
func (s *Systemd) String() string { return fmt.Sprintf("scopes of systemd %d", s.version) }

// Missing implements Groups.
func (s *Systemd) Missing() []string { return s.tree.Missing() }

// unit returns the name of machine id's scope.
func (s *Systemd) unit(id string) string { return top + "-" + s.name + "-" + id + ".scope" }

// Enter implements Groups. A scope that is there already is an error if something
// runs in it.
func (s *Systemd) Enter(ctx context.Context, id string, pid int, l Limits) error {
	if err := checkUnit(id); err != nil {
		return err
	}
	return s.talk(ctx, func(ctx context.Context, b bus) error {
		start := func() error {
			return b.job(ctx, func(done chan<- string) (int, error) {
				return b.StartTransientUnitContext(ctx, s.unit(id), "fail", l.properties(id, pid), done)
			})
		}
		err := start()
		if isError(err, "UnitExists") {
			if err := b.clear(ctx, s.unit(id)); err != nil {
				return err
			}
			err = start()
		}
		if err != nil {
			return fmt.Errorf("start scope %s: %w", s.unit(id), err)
		}
		return nil
	})
}

// properties of the scope of machine id, with their types of
// org.freedesktop.systemd1(5).
func (l Limits) properties(id string, pid int) []dbus.Property {
	quota, period := l.quota()
	set := func(name string, value any) dbus.Property {
		return dbus.Property{Name: name, Value: godbus.MakeVariant(value)}
	}
	all := []dbus.Property{
		set("Description", "CPU Cloud VM "+id),
		set("Slice", slice),
		set("Before", []string{agent}),
		set("CollectMode", "inactive-or-failed"), // no trace of it stays, however it ended
		set("PIDs", []uint32{uint32(pid)}),       //nolint:gosec // the kernel's, which are positive
		set("CPUWeight", uint64(l.weight())),     //nolint:gosec // from 1 on
		set("CPUQuotaPerSecUSec", uint64(quota)*uint64(time.Second/time.Microsecond)/uint64(period)),
		set("MemoryMax", uint64(l.Memory)), //nolint:gosec // of a machine that was checked
		set("TasksMax", uint64(l.PIDs)),    //nolint:gosec // the same
	}
	if l.IOWeight > 0 {
		all = append(all, set("IOWeight", uint64(l.IOWeight)))
	}
	return all
}

// Remove implements Groups.
func (s *Systemd) Remove(ctx context.Context, id string) error {
	if err := checkUnit(id); err != nil {
		return err
	}
	err := s.talk(ctx, func(ctx context.Context, b bus) error {
		b.await(ctx, s.unit(id))
		return b.clear(ctx, s.unit(id))
	})
	return errors.Join(err, s.tree.Remove(ctx, id))
}

// Sweep implements Groups.
func (s *Systemd) Sweep(ctx context.Context, keep func(id string) bool) error {
	err := s.talk(ctx, func(ctx context.Context, b bus) error {
		units, err := b.ListUnitsByPatternsContext(ctx, nil, []string{s.unit("*")})
		if err != nil {
			return fmt.Errorf("list scopes: %w", err)
		}
		var failed []error
		before, after, _ := strings.Cut(s.unit("*"), "*")
		for _, u := range units {
			if id := strings.TrimSuffix(strings.TrimPrefix(u.Name, before), after); !keep(id) {
				failed = append(failed, b.clear(ctx, u.Name))
			}
		}
		return errors.Join(failed...)
	})
	return errors.Join(err, s.tree.Sweep(ctx, keep))
}

// checkUnit refuses what would name another unit, or several.
func checkUnit(id string) error {
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' {
			return fmt.Errorf("%q can't name a scope", id)
		}
	}
	return checkName(id)
}
