package main

import (
	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
)

// hostFlags say how this machine is used as a server of the marketplace.
type hostFlags struct {
	accelerator string
	net         networkFlags
	images      imageFlags
	oversell    int64
	hardware    capacity.Hardware
	total       capacity.Vector
	benchmark   string
	users       string // user ids for VMs
	ioWeight    int
	caFile      string // of a private authority; only the agent's commands have a flag for it
	anyRAM      bool   // more memory may be sold than there is, in a cloud to try out
}

// register adds the flags, with what is usual for the command.
func (h *hostFlags) register(flags *pflag.FlagSet, oversell int64, benchmark string) {
	flags.StringVar(&h.benchmark, "benchmark", benchmark, "when this machine is measured: auto (after joining and when its provider asks), asked, or off")
	flags.StringVar(&h.accelerator, "accelerator", "auto", "how VMs run: auto, kvm or tcg (software emulation); auto proves KVM first")
	flags.StringVar(&h.users, "vm-uids", qemu.DefaultUsers.String(), "user ids for the VMs' processes, FIRST-LAST, that nobody else on this machine has (used by root)")
	flags.IntVar(&h.ioWeight, "vm-io-weight", 0, "share of each VM in the disks' time among others, 1 to 10000, where the disks' scheduler has weights (0: the usual 100)")
	h.net.register(flags)
	h.images.register(flags)
	flags.Int64Var(&h.oversell, "vcpu-per-thread", oversell, "how often each hardware thread is sold; offers show it")
	flags.Int64Var(&h.total.VCPU, "vcpu", 0, "vCPUs to sell (0: found by looking)")
	flags.Int64Var(&h.total.RAMGiB, "ram", 0, "GiB of memory to sell (0: found by looking, a share is kept for the host)")
	flags.Int64Var(&h.total.StorageGiB, "storage", 0, "GiB of disk to sell (0: found by looking, a share is kept for the host)")
	flags.StringVar(&h.hardware.CPU.Manufacturer, "cpu-manufacturer", "", "correct what was found, such as AMD")
	flags.StringVar(&h.hardware.CPU.Brand, "cpu-brand", "", "correct what was found, such as EPYC")
	flags.StringVar(&h.hardware.CPU.Architecture, "cpu-architecture", "", "correct what was found, such as Zen")
	flags.StringVar(&h.hardware.CPU.Generation, "cpu-generation", "", "correct what was found, such as 4")
	flags.StringVar(&h.hardware.Memory.Type, "memory-type", "", "correct what was found, such as DDR")
	flags.StringVar(&h.hardware.Memory.Generation, "memory-generation", "", "correct what was found, such as 5")
	flags.StringVar(&h.hardware.Storage.Type, "storage-type", "", "correct what was found: HDD, SSD or NVMe")
}

// The values of --benchmark.
const (
	benchmarkAuto  = "auto"
	benchmarkAsked = "asked"
	benchmarkOff   = "off"
)
