package cgroup

import (
	"context"
	"path/filepath"
)

// Groups makes the control groups of machines. Its methods may be called at the
// same time for different machines.
type Groups interface {
	// Enter puts process pid into the group of machine id, which it makes with
	// limits l.
	Enter(ctx context.Context, id string, pid int, l Limits) error

	// Remove removes the group of machine id, whose processes have ended. One that
	// isn't there is no error.
	Remove(ctx context.Context, id string) error

	// Sweep removes the groups of machines that keep doesn't know: what a crash has
	// left. One in which something still runs stays, and is an error.
	Sweep(ctx context.Context, keep func(id string) bool) error

	// Missing returns the controllers that the host doesn't have, so that their
	// limits don't hold.
	Missing() []string

	// String says what the groups are, for people.
	String() string
}

var (
	_ Groups = (*Tree)(nil)
	_ Groups = (*Systemd)(nil)
)

// Choose returns what makes groups called name on the host whose file system is at
// root: systemd where it runs, else a Tree. A Tree beside a systemd that can't be
// asked comes with trouble, which says why.
func Choose(ctx context.Context, root, name string) (g Groups, trouble, err error) {
	tree, err := Open(filepath.Join(root, "proc"), name)
	if err != nil {
		return nil, nil, err
	}
	s, trouble := scopes(ctx, root, tree)
	if s == nil || trouble != nil {
		return tree, trouble, nil
	}
	return s, nil, nil
}
