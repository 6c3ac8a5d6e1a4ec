package control

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// RescueWish is what a VM in rescue runs, and who may log in.
type RescueWish struct {
	Image         string // URL; "" for the server's own choice
	ImageChecksum string // see vm.ParseChecksum
	Key           string // the one SSH public key
}

// Rescue begins to have the actor's VM run a rescue image, with its own disk as the second
// one. Returns Invalid for a value that is not acceptable, and the faults of Operate.
func (s *Service) Rescue(ctx context.Context, who account.Actor, given string, w RescueWish, requestID string) (vm.Operation, error) {
	if w.Image == "" {
		w.Image = s.RescueImage
	}
	if w.Image == "" {
		return vm.Operation{}, fault.New(fault.Invalid, "image is missing: there is no rescue image here, so name one")
	}
	checksum, badSum := vm.ParseChecksum(w.ImageChecksum)
	keys, badKey := publicKeys([]string{w.Key}, nil)
	if err := firstError(vm.CheckImage(w.Image), badSum, badKey); err != nil {
		return vm.Operation{}, err
	}
	return s.Operate(ctx, who, given, vm.Rescue, requestID, func(_ context.Context, _ *store.Tx, v *vm.VM) error {
		v.Rescue = &vm.RescueSystem{Disk: v.Generation, Image: w.Image, Checksum: checksum, Key: keys[0], Since: s.Now().UTC()}
		v.Turned = v.Generation
		return nil
	})
}

// Unrescue begins to have the actor's VM run on its own disk again. Returns the faults of
// Operate.
func (s *Service) Unrescue(ctx context.Context, who account.Actor, given, requestID string) (vm.Operation, error) {
	return s.Operate(ctx, who, given, vm.Unrescue, requestID, func(_ context.Context, _ *store.Tx, v *vm.VM) error {
		leaveRescue(v)
		return nil
	})
}

// leaveRescue has v be on its own disk from this generation on, and the one of the
// rescue image purged.
func leaveRescue(v *vm.VM) {
	v.WantPurged(v.Rescue.Disk)
	v.Rescue, v.Turned = nil, v.Generation
}
