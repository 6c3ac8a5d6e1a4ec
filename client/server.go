package client

import (
	"context"
	"net/http"
	"time"
)

// Server is one machine of a provider. Timeline and VirtualMachines come with
// [Client.Server] alone.
type Server struct {
	ID               string         `json:"id"`
	Name             string         `json:"name"`
	State            string         `json:"state"`      // open, cordoned, draining or removed
	Offer            string         `json:"offer"`      // "" while none lists its hardware
	Datacenter       string         `json:"datacenter"` // slug
	HeardAt          *time.Time     `json:"heardAt"`
	UnreachableSince *time.Time     `json:"unreachableSince"`
	Problem          *string        `json:"problem"`
	DrainDeadline    *time.Time     `json:"drainDeadline"`
	Capacity         ServerCapacity `json:"capacity"` // what may be sold
	Used             ServerCapacity `json:"used"`
	Hardware         ServerHardware `json:"hardware"`
	Details          ServerDetails  `json:"details"`
	Declared         []string       `json:"declared"` // what was stated rather than read off the machine
	Measured         *Measured      `json:"measured"` // nil before the first benchmark
	VMs              int            `json:"vms"`
	Timeline         []Event        `json:"timeline,omitempty"` // oldest first
	VirtualMachines  []ServerVM     `json:"virtualMachines,omitempty"`
}

// ServerCapacity is an amount of each resource.
type ServerCapacity struct {
	VCPU       int64 `json:"vcpu"`
	RAMGiB     int64 `json:"ramGib"`
	StorageGiB int64 `json:"storageGib"`
	Addresses  int64 `json:"addresses"`
}

// ServerHardware is what a server is made of; in an offer, what it lists.
type ServerHardware struct {
	CPU     Processor `json:"cpu"`
	Memory  Memory    `json:"memory"`
	Storage Storage   `json:"storage"`
}

// Processor names a processor, such as AMD, EPYC 9354P, Zen, 4.
type Processor struct {
	Manufacturer string `json:"manufacturer,omitempty"`
	Brand        string `json:"brand,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	Generation   string `json:"generation,omitempty"`
}

// ServerDetails is what is shown of a machine and nothing is matched by. What
// could not be read is zero.
type ServerDetails struct {
	Sockets     int64        `json:"sockets,omitempty"`
	Cores       int64        `json:"cores,omitempty"`
	Threads     int64        `json:"threads,omitempty"`
	MemoryGiB   int64        `json:"memoryGib,omitempty"`
	MemorySpeed int64        `json:"memorySpeed,omitempty"` // mega-transfers per second
	Disks       []ServerDisk `json:"disks,omitempty"`
	Addresses   []string     `json:"addresses,omitempty"`
}

// ServerDisk is one disk of a machine.
type ServerDisk struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	SizeGiB int64  `json:"sizeGib"`
	Model   string `json:"model,omitempty"`
}

// Measured holds what a benchmark found out. A figure that could not be taken
// is zero.
type Measured struct {
	At         time.Time `json:"at"`
	AgeSeconds int64     `json:"ageSeconds"`
	CPUSingle  float64   `json:"cpuSingle"` // score of one thread
	CPUAll     float64   `json:"cpuAll"`    // score of all threads at once
	Memory     float64   `json:"memory"`    // MiB/s
	DiskRead   float64   `json:"diskRead"`  // MiB/s
	DiskWrite  float64   `json:"diskWrite"` // MiB/s
	DiskIOPS   float64   `json:"diskIops"`  // random reads per second
	DiskFsync  float64   `json:"diskFsync"` // milliseconds
	Network    float64   `json:"network"`   // milliseconds to the control plane and back
	Note       string    `json:"note,omitempty"`
}

// ServerVM is a VM as the provider of its server sees it.
type ServerVM struct {
	ID        string    `json:"id"`
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"createdAt"`
}

// TerminatedVM is a VM that its provider ended.
type TerminatedVM struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	Returned Amount `json:"returned"` // to its customer
}

// Servers returns a provider's servers.
func (c *Client) Servers(ctx context.Context, provider string) ([]Server, error) {
	return get[[]Server](ctx, c, providerPath(provider, "servers"), nil)
}

// Server returns one server, given by its name or id, with its VMs and timeline.
func (c *Client) Server(ctx context.Context, provider, server string) (Server, error) {
	return get[Server](ctx, c, providerPath(provider, "servers", server), nil)
}

// Cordon keeps new VMs off a server. Those on it run on.
func (c *Client) Cordon(ctx context.Context, provider, server string) (Server, error) {
	return c.tellServer(ctx, provider, server, "cordon", nil, true)
}

// Uncordon lets new VMs onto a server again, and ends its draining.
func (c *Client) Uncordon(ctx context.Context, provider, server string) (Server, error) {
	return c.tellServer(ctx, provider, server, "uncordon", nil, true)
}

// Drain keeps new VMs off a server and gives its customers until the deadline,
// when what is still there is ended.
func (c *Client) Drain(ctx context.Context, provider, server string, deadline time.Duration, reason string) (Server, error) {
	body := map[string]string{"deadline": deadline.String()}
	if reason != "" {
		body["reason"] = reason
	}
	// Doing it again would put the deadline off by the pause alone.
	return c.tellServer(ctx, provider, server, "drain", body, true)
}

// RemoveServer takes a server without VMs out of the marketplace.
func (c *Client) RemoveServer(ctx context.Context, provider, server string) (Server, error) {
	return c.tellServer(ctx, provider, server, "remove", nil, false)
}

// RemoveLostServer takes a server out of the marketplace whose machine is gone
// for good. Its VMs are ended; their customers read the reason, which may be "".
func (c *Client) RemoveLostServer(ctx context.Context, provider, server, reason string) (Server, error) {
	body := map[string]any{"lost": true}
	if reason != "" {
		body["reason"] = reason
	}
	return c.tellServer(ctx, provider, server, "remove", body, false)
}

// BenchmarkServer asks a server to measure itself anew.
func (c *Client) BenchmarkServer(ctx context.Context, provider, server string) (Server, error) {
	return c.tellServer(ctx, provider, server, "benchmark", nil, false)
}

func (c *Client) tellServer(ctx context.Context, provider, server, verb string, body any, safe bool) (Server, error) {
	if body == nil {
		body = struct{}{}
	}
	var s Server
	err := c.do(ctx, call{method: http.MethodPost, path: providerPath(provider, "servers", server, verb), body: body, answer: &s, safe: safe})
	return s, err
}

// TerminateVM ends a VM on a server of the provider. Its customer is told the
// reason.
func (c *Client) TerminateVM(ctx context.Context, provider, id, reason string) (TerminatedVM, error) {
	var v TerminatedVM
	path := providerPath(provider, "vms", id, "terminate")
	err := c.do(ctx, call{method: http.MethodPost, path: path, body: map[string]string{"reason": reason}, answer: &v})
	return v, err
}
