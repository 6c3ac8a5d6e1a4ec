package usage

import "time"

// Report is what the VMs of one server used lately, as its agent tells it.
type Report struct {
	At  time.Time // when it was sent, by the server's clock
	VMs []OfVM
}

// OfVM is what one VM used, as a series of single slots.
type OfVM struct {
	ID     string
	Points []Point
}
