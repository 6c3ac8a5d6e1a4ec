package vm

import (
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Action is something that its customer does to a VM.
type Action string

// The actions.
const (
	Rename   Action = "rename"
	SetPorts Action = "setPorts"
	Label    Action = "label"
	Reboot   Action = "reboot"   // its guest powers itself off, or is switched off after a minute, and starts again
	Reset    Action = "reset"    // starts again at once, as by the button of a computer
	Shutdown Action = "shutdown" // its guest powers itself off, or is switched off after a minute
	Start    Action = "start"
	Resize   Action = "resize"  // it gets another configuration, or a larger disk
	Protect  Action = "protect" // it can't be deleted until it is unprotected

	Reinstall Action = "reinstall" // gets a new disk; the one that it had is kept for a time
	Return    Action = "return"    // gets a disk back that is kept; the one that it had is kept then
	Rescue    Action = "rescue"    // runs a rescue image, with its own disk as the second one
	Unrescue  Action = "unrescue"  // runs on its own disk again

	Unprotect Action = "unprotect"
	Delete    Action = "delete"
	Undelete  Action = "undelete" // it is back, with its disk and address, as long as they are kept

	TakeSnapshot Action = "snapshot" // copies its disk as it is at one moment
	Restore      Action = "restore"  // gets a disk as in a snapshot; the one that it had is kept for a time
)

// Actions are all there are, in the order in which they are told.
var Actions = []Action{
	Rename, SetPorts, Label, Reboot, Reset, Shutdown, Start, Resize, Reinstall, Return, Rescue, Unrescue, TakeSnapshot, Restore, Protect, Unprotect, Delete, Undelete,
}

// Long reports whether a is an operation: the agent has to do something that
// takes its time, and only one of these goes on at a time.
func (a Action) Long() bool {
	switch a {
	case Reboot, Reset, Shutdown, Start, Resize, Reinstall, Return, Rescue, Unrescue, TakeSnapshot, Restore, Undelete:
		return true
	case Rename, SetPorts, Label, Protect, Unprotect, Delete:
	}
	return false
}

// Turns reports whether a starts the VM on another disk.
func (a Action) Turns() bool {
	return a == Reinstall || a == Return || a == Rescue || a == Unrescue || a == Restore
}

// Refuses returns why a can't be done to v now, a Conflict fault that says what
// to do instead; nil if it can. Nothing else decides that. busy is the operation
// that goes on, nil for none.
func (v VM) Refuses(a Action, busy *Operation) error {
	switch {
	case a == Delete && v.Protected && v.State != Stopped:
		return fault.Newf(fault.Conflict, "VM %s is protected: nothing was deleted; unprotect it first, if it is really to go", v.Name)
	case a == Delete:
		return nil // at any time, and again
	case a == Undelete && v.State != Stopped:
		return fault.New(fault.Conflict, "the VM was not deleted")
	case a == Undelete && v.KeptUntil.IsZero():
		return fault.New(fault.NotFound, "the VM was deleted, and its disk is not kept any more")
	case a == Undelete:
		return nil
	case v.State == Stopped:
		return fault.New(fault.NotFound, "the VM was deleted")
	case v.State.Ended() && a.Long():
		return fault.Newf(fault.Conflict, "the VM is %s and will not run again; deploy another one", v.State)
	case a == Protect && v.Protected:
		return fault.New(fault.Conflict, "the VM is protected already")
	case a == Unprotect && !v.Protected:
		return fault.New(fault.Conflict, "the VM is not protected")
	case !a.Long():
		return nil
	case v.State.Starting():
		return fault.Newf(fault.Conflict, "the VM is %s; wait until it is Active", v.State)
	case v.State == InsufficientFunds:
		return fault.New(fault.Conflict, "the VM is powered off for want of money; it starts again by itself once the balance pays for it")
	case busy != nil:
		return fault.Newf(fault.Conflict, "another operation goes on: %s, %s, since %s; wait until it is over", busy.Action, busy.ID, busy.Begun.UTC().Format("15:04:05"))
	case v.Power == On || v.Power == "":
		if a == Start {
			return fault.New(fault.Conflict, "the VM is not powered off")
		}
	case a == Shutdown:
		return fault.New(fault.Conflict, "the VM is powered off already, or about to be")
	case a == Reboot || a == Reset || a.Turns():
		return fault.New(fault.Conflict, "the VM is powered off; start it")
	}
	return v.refusesDisk(a)
}

// refusesDisk returns why a can't be done to what v runs on now.
func (v VM) refusesDisk(a Action) error {
	switch {
	case a == Unrescue && v.Rescue == nil:
		return fault.New(fault.Conflict, "the VM is not in rescue")
	case a == Unrescue, !a.Turns() && a != Resize && a != TakeSnapshot:
		return nil
	case v.Rescue != nil && a != TakeSnapshot:
		return fault.Newf(fault.Conflict, "the VM is in rescue since %s; unrescue it first", v.Rescue.Since.UTC().Format(time.RFC3339))
	case v.Turning():
		return fault.New(fault.Conflict, "the VM is still to be started on the disk that was asked for before; wait until its server has done that")
	}
	return nil
}

// Allowed returns the actions that can be done to v now.
func (v VM) Allowed() []Action {
	var busy *Operation
	if v.Operation != "" {
		busy = &Operation{ID: v.Operation}
	}
	return slices.DeleteFunc(slices.Clone(Actions), func(a Action) bool { return v.Refuses(a, busy) != nil })
}
