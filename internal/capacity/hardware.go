package capacity

import (
	"net/netip"
	"time"
)

// Hardware is what a server is made of, in the words of the marketplace.
type Hardware struct {
	CPU     CPU     `json:"cpu"`
	Memory  Memory  `json:"memory"`
	Storage Storage `json:"storage"`
}

// CPU names a processor, such as AMD, EPYC 9354P, Zen, 4.
type CPU struct {
	Manufacturer string `json:"manufacturer"`
	Brand        string `json:"brand"`
	Architecture string `json:"architecture"`
	Generation   string `json:"generation"`
}

// Memory names the kind of memory, such as DDR, 5.
type Memory struct {
	Type       string `json:"type"`
	Generation string `json:"generation"`
}

// Storage names the kind of disk: HDD, SSD or NVMe.
type Storage struct {
	Type string `json:"type"`
}

// Inventory is what an agent tells of its server when it joins and whenever
// that changes.
type Inventory struct {
	Hardware      Hardware     `json:"hardware"`
	Total         Vector       `json:"total"`           // what may be sold; the host's own share is taken off
	VCPUPerThread int64        `json:"vcpu_per_thread"` // how often each hardware thread is sold; 1 is not oversold
	Pool          netip.Prefix `json:"pool"`            // where the VMs' public addresses come from
	Hypervisor    string       `json:"hypervisor"`      // name and version
	Accelerator   string       `json:"accelerator"`     // "kvm" or "tcg"
	Details       Details      `json:"details,omitzero"`
	// Declared names the members above that the provider stated and nobody
	// read off the machine: "hardware.cpu.brand", "total.ram_gib".
	Declared []string `json:"declared,omitempty"`
	// Measured is the newest benchmark, nil before the first.
	Measured *Measured `json:"measured,omitempty"`
}

// Details is what is shown of a machine and nothing is matched by. What could
// not be read is zero.
type Details struct {
	Sockets     int64    `json:"sockets,omitempty"`
	Cores       int64    `json:"cores,omitempty"`   // physical ones
	Threads     int64    `json:"threads,omitempty"` // hardware threads that this machine gives its agent
	MemoryGiB   int64    `json:"memory_gib,omitempty"`
	MemorySpeed int64    `json:"memory_speed,omitempty"` // mega-transfers per second
	Disks       []Disk   `json:"disks,omitempty"`
	Addresses   []string `json:"addresses,omitempty"` // of the host, global ones, without a port
}

// Disk is one disk of a machine.
type Disk struct {
	Name    string `json:"name"`            // such as nvme0n1
	Type    string `json:"type"`            // HDD, SSD, NVMe, or "" if that can't be told
	SizeGiB int64  `json:"size_gib"`        // as sold by its maker, rounded down
	Model   string `json:"model,omitempty"` // as the disk says
}

// Measured holds what a benchmark found out. A figure that could not be taken
// is zero.
type Measured struct {
	At        time.Time `json:"at"`
	Request   int64     `json:"request,omitempty"` // which wish for a benchmark this answers, see vm.List
	CPUSingle float64   `json:"cpu_single"`        // score of one thread; 1,000 is docs/performance.md's reference
	CPUAll    float64   `json:"cpu_all"`           // score of all threads at once
	Memory    float64   `json:"memory"`            // MiB/s copied by all threads
	DiskRead  float64   `json:"disk_read"`         // MiB/s, sequential
	DiskWrite float64   `json:"disk_write"`        // MiB/s, sequential
	DiskIOPS  float64   `json:"disk_iops"`         // random reads of 4 KiB per second, one at a time
	DiskFsync float64   `json:"disk_fsync"`        // milliseconds that a written 4 KiB takes to be durable, median
	Network   float64   `json:"network"`           // milliseconds to the control plane and back, median
	Note      string    `json:"note,omitempty"`    // what could not be measured, and why
}
