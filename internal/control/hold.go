package control

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// hold changes how many GiB of its server's storage a VM holds beside its disk.
func (s *Service) hold(_ context.Context, _ *store.Tx, v *vm.VM, gib int64) error {
	v.Held += gib
	return nil
}
