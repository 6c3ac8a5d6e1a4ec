package capacity

import "net/netip"

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
}
