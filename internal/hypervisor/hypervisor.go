// Package hypervisor is what the agent asks of the software that runs virtual
// machines: is it usable here, make this machine run, which machines run, ask
// this one to end, start it anew, end it, sit before its console, read its meter.
package hypervisor

import (
	"context"
	"io"
	"os"
	"time"
)

// Driver runs machines. Its methods may be called at the same time for
// different machines. Machines outlive the process that started them: a new
// Driver over the same folder finds them again.
type Driver interface {
	// Probe reports what this host can do. It proves the accelerator by
	// running a guest, so it may take seconds; the result doesn't change
	// while the process lives. Returns an Unavailable fault that names the
	// package to install when the hypervisor is missing.
	Probe(ctx context.Context) (Facts, error)

	// Ensure starts machine m unless it runs already; a running one is left
	// alone, whatever m says. The files in m.NIC are closed when it returns.
	Ensure(ctx context.Context, m Machine) error

	// List returns every machine that this driver was asked to start and not
	// to destroy, running or not, ordered by id.
	List(ctx context.Context) ([]Instance, error)

	// Destroy ends machine id at once and forgets it; its disks stay. One
	// that doesn't exist is no error.
	Destroy(ctx context.Context, id string) error

	Case
	Serial
	Saver
}

// Case is what is on the outside of a machine.
type Case interface {
	Buttons
	Meter
}

// Buttons are those that the case of a computer has.
type Buttons interface {
	// Shutdown asks the guest of machine id to power itself off, as its power
	// button does, and returns at once. Whether the guest does so, and when,
	// is its own affair: one that is just booting hears nothing. A machine
	// that doesn't run is no error.
	Shutdown(ctx context.Context, id string) error

	// Reset starts machine id anew at once, as its reset button does: the guest
	// is not asked, and what it had not written is lost. A machine that doesn't run
	// is no error.
	Reset(ctx context.Context, id string) error
}

// Serial is what a driver has of its machines' serial consoles. What a guest
// writes there is its own word: any bytes, not fit for a terminal as they are.
type Serial interface {
	// Console returns the end of what the guest wrote to its serial console, at most
	// 256 KiB, over restarts of the machine and of the driver. What it writes while
	// no driver is there may be lost. Returns a NotFound fault for a machine that doesn't exist.
	Console(ctx context.Context, id string) ([]byte, error)

	// Attach returns a hold on the serial console of machine id: it reads what the guest
	// writes from now on and types what is written. There may be several holds on one;
	// each reads everything, with a mark for what it was too slow for. Reading ends
	// with io.EOF when the machine does; the guest never waits for it. Returns a
	// NotFound fault for a machine that doesn't exist, Conflict for one that doesn't run.
	Attach(ctx context.Context, id string) (io.ReadWriteCloser, error)
}

// Facts is what Probe found.
type Facts struct {
	Version     string // of the hypervisor, such as "7.2.22"
	Accelerator string // "kvm" or "tcg"
	Reason      string // why this accelerator, for the operator
	Limits      string // what holds machines to their limits, "" if nothing does
	Weaker      string // what keeps machines from being confined in full here, "" for nothing
}

// Machine is everything that a driver needs to start a virtual machine. It
// holds no text that a customer wrote.
type Machine struct {
	ID     string // [A-Za-z0-9-]+, at most 64 characters
	VCPU   int
	RAMGiB int
	Disks  []Disk // in boot order
	NIC    NIC
}

// Disk is one virtual disk. Its format is always said and never probed.
type Disk struct {
	Path     string
	Format   Format
	ReadOnly bool
	Bytes    int64 // of the disk as the guest sees it, 0 if that isn't known; its file can't become much larger
	Backing  *Disk // what an overlay lies on, nil for a whole disk; always read only
}

// Format of a disk file.
type Format string

// The formats that are attached.
const (
	QCOW2 Format = "qcow2"
	Raw   Format = "raw"
)

// NIC is the network card: how it is plugged into the host.
type NIC struct {
	MAC  string   // 52:54:00:…
	Kind PlugKind // what File is
	File *os.File // an open tap device, or a connected stream socket that carries frames
}

// PlugKind says what kind of file a card is plugged into.
type PlugKind string

// The kinds of plug.
const (
	Tap    PlugKind = "tap"    // a tap device, opened and configured
	Stream PlugKind = "stream" // a stream socket: every frame behind its 32-bit big-endian length
)

// Instance is a machine as the driver sees it.
type Instance struct {
	ID      string
	State   State
	Reason  string    // why it is not running, "" otherwise
	Started time.Time // when its process was started, zero when it isn't running
}

// State of a machine on its host.
type State string

// The states of a machine.
const (
	Running State = "running"
	Exited  State = "exited" // the process is gone: the guest powered off, crashed, or the host did
)
