// Package capacity counts what a server has and a VM takes, as one vector:
// vCPU, RAM, storage and public addresses change together or not at all.
package capacity

import "fmt"

// Vector is an amount of each resource.
type Vector struct {
	VCPU       int64 `json:"vcpu"`        // virtual CPUs; a server may offer more than it has threads
	RAMGiB     int64 `json:"ram_gib"`     // GiB of memory; never more than the server has
	StorageGiB int64 `json:"storage_gib"` // GiB of disk
	Addresses  int64 `json:"addresses"`   // public IPv4 addresses
}

// Add returns v + w.
func (v Vector) Add(w Vector) Vector {
	return Vector{v.VCPU + w.VCPU, v.RAMGiB + w.RAMGiB, v.StorageGiB + w.StorageGiB, v.Addresses + w.Addresses}
}

// Sub returns v − w. Components may become negative; ask Fits first.
func (v Vector) Sub(w Vector) Vector {
	return Vector{v.VCPU - w.VCPU, v.RAMGiB - w.RAMGiB, v.StorageGiB - w.StorageGiB, v.Addresses - w.Addresses}
}

// Fits reports whether a demand of w can be met out of v.
func (v Vector) Fits(w Vector) bool {
	return w.VCPU <= v.VCPU && w.RAMGiB <= v.RAMGiB && w.StorageGiB <= v.StorageGiB && w.Addresses <= v.Addresses
}

// Times returns how many times w can be taken out of v: the smallest quotient
// over the components that w asks for. A w that asks for nothing, and a v with
// a negative component that w asks for, give 0.
func (v Vector) Times(w Vector) int64 {
	least := int64(-1)
	for _, p := range [...][2]int64{
		{v.VCPU, w.VCPU}, {v.RAMGiB, w.RAMGiB}, {v.StorageGiB, w.StorageGiB}, {v.Addresses, w.Addresses},
	} {
		if p[1] <= 0 {
			continue
		}
		if n := max(p[0], 0) / p[1]; least < 0 || n < least {
			least = n
		}
	}
	return max(least, 0)
}

// Valid reports whether no component is negative.
func (v Vector) Valid() bool {
	return v.VCPU >= 0 && v.RAMGiB >= 0 && v.StorageGiB >= 0 && v.Addresses >= 0
}

// String returns a short text for logs and errors: "2 vCPU, 4 GiB RAM, 25 GiB storage, 1 address".
func (v Vector) String() string {
	plural := "es"
	if v.Addresses == 1 {
		plural = ""
	}
	return fmt.Sprintf("%d vCPU, %d GiB RAM, %d GiB storage, %d address%s", v.VCPU, v.RAMGiB, v.StorageGiB, v.Addresses, plural)
}
