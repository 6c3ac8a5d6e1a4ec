package vm

import (
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Power says whether a VM's customer wants its machine to run.
type Power string

// The powers. A VM that is not paid for is powered off whatever its customer wants.
const (
	On       Power = "on"
	Stopping Power = "stopping" // it is to be powered off, and its agent has not said that it is
	Off      Power = "off"      // its agent has seen it powered off: others may have its vCPUs and memory
)

// Wants returns the goal of a VM that is neither removed nor short of money.
func (p Power) Wants() Goal {
	if p == On {
		return Run
	}
	return Halt
}

// Rests reports whether v has given its vCPUs and memory back to its server.
func (v VM) Rests() bool { return v.Power == Off }

// Takes returns what v takes of its server: everything until nothing is left of it
// there, but for vCPUs and memory while it is powered off. One that is being resized
// takes the larger one of both sizes.
func (v VM) Takes() capacity.Vector {
	if v.Gone {
		return capacity.Vector{}
	}
	d := v.Spec.Demand()
	d.VCPU, d.RAMGiB = max(d.VCPU, v.Leaves.VCPU), max(d.RAMGiB, v.Leaves.RAMGiB)
	if v.Rests() {
		d.VCPU, d.RAMGiB = 0, 0
	}
	d.StorageGiB += v.Held
	return d
}

// Rate returns what an epoch of v costs as it is now: what its agreed price says
// of vCPUs and memory only while it has them, and of storage for what it holds
// beside its disk at the same price per GiB, rounded up to a micro-USDC.
func (v VM) Rate() Parts {
	p := v.Full
	if v.Rests() {
		p[partVCPU], p[partRAM] = 0, 0
	}
	if v.Held > 0 && v.Spec.StorageGiB > 0 {
		p[partStorage] += v.Full[partStorage].Scaled(v.Held, v.Spec.StorageGiB)
	}
	return p
}

// PriceOff returns what an epoch of v costs while it is powered off.
func (v VM) PriceOff() money.Amount {
	v.Power = Off
	return v.Rate().Sum()
}

// The places of parts in Parts.
const (
	partVCPU = iota
	partRAM
	partStorage
)

// Sum returns the price that parts add up to.
func (p Parts) Sum() (sum money.Amount) {
	for _, part := range p {
		sum += part
	}
	return sum
}
