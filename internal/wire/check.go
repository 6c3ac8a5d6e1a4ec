package wire

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// decode reads the one JSON value in body. Unknown members are refused: a
// newer agent meets an older control plane with an error, not with silence.
func decode(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fault.New(fault.Malformed, "the request is not a message of this protocol")
	}
	if _, err := d.Token(); err != io.EOF {
		return fault.New(fault.Malformed, "something follows the message")
	}
	return nil
}

// checkReport keeps garbage of a broken or hostile agent out of the control
// plane: it bounds every part and knows every word.
func checkReport(r vm.Report) error {
	if err := checkInventory(r.Inventory); err != nil {
		return err
	}
	if len(r.Instance) > maxInstance {
		return fault.Newf(fault.Invalid, "the name of an agent's start has at most %d characters", maxInstance)
	}
	if len(r.VMs) > maxVMs {
		return fault.Newf(fault.Invalid, "a report tells of at most %d VMs", maxVMs)
	}
	seen := make(map[string]bool, len(r.VMs))
	for _, s := range r.VMs {
		if err := checkSighting(s); err != nil {
			return err
		}
		if seen[s.ID] {
			return fault.Newf(fault.Invalid, "VM %s is reported twice", s.ID)
		}
		seen[s.ID] = true
	}
	return nil
}

func checkSighting(s vm.Sighting) error {
	switch {
	case s.ID == "" || len(s.ID) > 64:
		return fault.New(fault.Invalid, "a reported VM has no proper id")
	case s.Generation < 0:
		return fault.New(fault.Invalid, "a generation is negative")
	case !known(s.Phase):
		return fault.Newf(fault.Invalid, "VM %s is reported in an unknown phase", s.ID)
	case len(s.Steps) > vm.MaxSteps || len(s.Reason) > maxText:
		return fault.Newf(fault.Invalid, "too much is told of VM %s", s.ID)
	}
	if r := s.Retry; r != nil && (r.Attempt < 0 || r.Attempt > maxTries || r.Of < 0 || r.Of > maxTries) {
		return fault.Newf(fault.Invalid, "VM %s is reported with an absurd number of tries", s.ID)
	}
	if err := hostkey.Check(s.HostKeys); err != nil {
		return fault.Newf(fault.Invalid, "VM %s is reported with host keys that are none: %s", s.ID, fault.Message(err))
	}
	if _, err := vm.ParseChecksum(s.Image); err != nil {
		return fault.Newf(fault.Invalid, "VM %s is reported with an image that has no proper checksum", s.ID)
	}
	if err := checkExports(s.Exports); err != nil {
		return err
	}
	for _, step := range s.Steps {
		if step.Key == "" || len(step.Key) > 64 || len(step.Text) > maxText {
			return fault.Newf(fault.Invalid, "a step of VM %s has no proper key or too long a text", s.ID)
		}
	}
	return nil
}

func known(p vm.Phase) bool {
	switch p {
	case vm.Absent, vm.Preparing, vm.Booting, vm.Ready, vm.Halted, vm.Broken, vm.Quarantined:
		return true
	}
	return false
}
