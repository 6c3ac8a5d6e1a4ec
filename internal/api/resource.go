package api

import (
	"github.com/cpucloud/cpucloud/internal/capacity"
)

// The types of resources.
const (
	vcpu     = "VCPU"
	ram      = "RAM"
	storage  = "STORAGE"
	publicIP = "PUBLIC_IP"
)

// resource is one resource that a VM takes. Clients read the amount as supply or
// as quantity, so both are always there.
type resource struct {
	Type     string            `json:"type" enum:"VCPU,RAM,STORAGE,PUBLIC_IP"`
	Supply   int64             `json:"supply" minimum:"0" doc:"How many units."`
	Units    string            `json:"units" enum:"vCPU,GiB,address"`
	Quantity int64             `json:"quantity" minimum:"0" doc:"The same as supply."`
	Details  map[string]string `json:"details" doc:"The same as metadata."`
	Metadata map[string]string `json:"metadata" doc:"What it is made of."`
}

// partsOf returns a vector on some hardware, resource by resource.
func partsOf(v capacity.Vector, hw capacity.Hardware) []resource {
	part := func(kind string, n int64, units string, metadata map[string]string) resource {
		return resource{Type: kind, Supply: n, Units: units, Quantity: n, Details: metadata, Metadata: metadata}
	}
	return []resource{
		part(vcpu, v.VCPU, "vCPU", map[string]string{
			"manufacturer": hw.CPU.Manufacturer, "brand": hw.CPU.Brand, "architecture": hw.CPU.Architecture, "generation": hw.CPU.Generation,
		}),
		part(ram, v.RAMGiB, "GiB", map[string]string{"type": hw.Memory.Type, "generation": hw.Memory.Generation}),
		part(storage, v.StorageGiB, "GiB", map[string]string{"type": hw.Storage.Type}),
		part(publicIP, v.Addresses, "address", map[string]string{"version": "4"}),
	}
}
