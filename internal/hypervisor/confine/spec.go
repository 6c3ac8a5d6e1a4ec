// Package confine runs a program of which nothing good is expected: with a user
// of its own, without rights, in namespaces of its own, over a file system in
// which there is nothing but what it was shown, and within limits.
//
// A process can't do all of that to its child before the child's program runs,
// so this program is run once more in between: it calls Main, which confines
// itself and becomes the program.
package confine

import (
	"context"
	"encoding/json"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Helper is the first argument that tells a program to call Main with those
// that follow.
const Helper = "machine-helper"

// Spec says how a program is confined. Files that it inherits stay open,
// whatever else is taken from it.
type Spec struct {
	// User and group of the process, another group that it is in, and whether it
	// gets namespaces; all need root. With 0 and false it stays as it is.
	User     uint32 `json:"user,omitempty"`
	Group    uint32 `json:"group,omitempty"`
	Isolated bool   `json:"isolated,omitempty"`

	// Root is an empty folder that becomes the root of an isolated program's file
	// system. Show is what it sees there, read only and in its usual place; what
	// isn't there is left out. Devices become its own, to read and write.
	Root    string   `json:"root,omitempty"`
	Show    []string `json:"show,omitempty"`
	Devices []string `json:"devices,omitempty"`

	Limits map[int]uint64 `json:"limits,omitempty"` // RLIMIT_… to what can't be exceeded
	OOM    int            `json:"oom,omitempty"`    // how much rather than others it is killed for memory, up to 1000
	Parent int            `json:"parent,omitempty"` // process that it ends with; 0 for one that lives on without

	// Admit is called with the number of the process that becomes the program, which
	// does nothing until Admit has returned, and ends unless that gave nil: it can be
	// put into a control group first. Nil admits at once.
	Admit func(pid int) error `json:"-"`
}

// namespaces of an isolated program: it sees no process, no network, no
// semaphore and no host name but its own. That of control groups follows when it
// is in its own, see enter.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// Command returns a command that runs program, a path, with args as s says, in
// a session of its own and without an environment. self is how this program is
// called so that it calls Main. With s.Parent the thread that starts it has to
// live as long.
func (s Spec) Command(ctx context.Context, self []string, program string, args ...string) (*Cmd, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	words := append(append([]string{}, self[1:]...), string(text), program)
	cmd := exec.CommandContext(ctx, self[0], append(words, args...)...)
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.Isolated {
		cmd.SysProcAttr.Cloneflags = namespaces
	}
	return &Cmd{cmd, s.Admit}, nil
}
