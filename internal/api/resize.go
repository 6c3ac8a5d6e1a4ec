package api

import (
	"net/http"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

var resizeVM = func() operation {
	op := vmVerb("resize", "resizeVM", "Give a VM another size",
		"Other vCPUs and memory, a larger disk, or both, at the prices that its offer asks now; disks only grow. One that runs is rebooted for it; its guest's file system "+
			"grows at that boot where its image does so by itself. Where it costs more, a new epoch begins at once, less what is left of the one that was charged; "+
			"where it costs less, that counts from its next epoch on. With `dryRun=true` the answer tells the price, and nothing changes.")
	op.request = `{"configuration": "cpu-4-ram-8gb-storage-25gb", "storage": 50, "maxPricePerEpoch": "1.7"}`
	op.refusals[http.StatusUnprocessableEntity] = "an epoch costs 1.66 USDC then, which is more than 0.84: agree to it by maxPricePerEpoch"
	return op
}()

type resizeRequest struct {
	Configuration string        `json:"configuration,omitempty" doc:"Slug of a basic configuration; left out for the vCPUs and memory that it has." example:"cpu-4-ram-8gb-storage-25gb"`
	Storage       int64         `json:"storage,omitempty" minimum:"1" doc:"GiB of its disk; left out for what the configuration has, or the disk has now if that is more."`
	MaxPrice      *money.Amount `json:"maxPricePerEpoch,omitempty" doc:"USDC that an epoch may cost then; left out for no more than it costs now."`
}

func (a *api) resizeVM(c *call, in resizeRequest) (Operation, error) {
	return a.operate(c, vm.Resize, a.control.Resize(control.Size{Configuration: in.Configuration, StorageGiB: in.Storage, MaxPrice: in.MaxPrice}))
}
