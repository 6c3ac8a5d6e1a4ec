package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/confine"
)

// Intruder returns a command that runs program in the place of the QEMU of
// machine m, with a confinement that weaken may change.
func (d *Driver) Intruder(
	ctx context.Context, m hypervisor.Machine, uid uint32, weaken func(*confine.Spec), program string, args ...string,
) (*confine.Cmd, error) {
	s := d.cellOf(ctx, m, uid, command{program, TCG, found{Isolated: true, Bounded: os.Getuid() == 0}})
	if weaken != nil {
		weaken(&s)
	}
	return s.Command(ctx, d.config.Helper, program, args...)
}

// Inner functions that are tested on their own.
var (
	CommandLine = commandLine
	GuestCode   = guestCode
	ProbeLine   = probeLine
	LastWords   = lastWords
	FreeUsers   = UserRange.free
	FileLimit   = fileLimit
)

// Leave begins a copy of a disk of machine id and forgets about it.
func (d *Driver) Leave(ctx context.Context, id string, b hypervisor.Backup) error {
	s := saver{talk: d.monitor(id)}
	node, err := s.nodeOf(ctx, b.Index)
	if err == nil {
		err = s.prepare(ctx, node, b.Target)
	}
	if err == nil {
		err = s.begin(ctx, node)
	}
	return err
}

// Added returns the jobs, nodes and files that machine id has, but for those of its disks.
func (d *Driver) Added(ctx context.Context, id string) []string {
	var nodes []struct {
		Name string `json:"node-name"`
	}
	var jobs []struct{ ID string }
	var sets []struct {
		Number int `json:"fdset-id"`
	}
	m := d.monitor(id)
	err := errors.Join(
		m.execute(ctx, "query-named-block-nodes", nil, &nodes), m.execute(ctx, "query-jobs", nil, &jobs), m.execute(ctx, "query-fdsets", nil, &sets),
	)
	if err != nil {
		return []string{err.Error()}
	}
	var all []string
	for _, n := range nodes {
		if !strings.HasPrefix(n.Name, "#") { // a filter's, for as long as a job runs
			all = append(all, "node "+n.Name)
		}
	}
	for _, j := range jobs {
		all = append(all, "job "+j.ID)
	}
	for _, s := range sets {
		all = append(all, fmt.Sprint("file ", s.Number))
	}
	slices.Sort(all)
	return all
}
