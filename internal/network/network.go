// Package network is what the agent asks of a host's network: give a VM its
// public address with these ports open, tell which VMs have one, take it away.
package network

import (
	"context"
	"net/netip"
	"os"
)

// Driver connects VMs. Its methods may be called at the same time for
// different links. Links outlive the process that made them: a new Driver over
// the same folder finds them again.
type Driver interface {
	// Ensure makes the host agree with l: creates the link, or changes its
	// open ports without cutting connections through ports that stay open.
	// It changes nothing when all is as l says. Returns an Unavailable fault
	// with what to do when the host refuses (a port below 1024 without the
	// privilege, an address that somebody else uses).
	Ensure(ctx context.Context, l Link) error

	// Plug opens the VM's end of the link for the hypervisor, which gets the
	// file. Only one plug of a link is in use at a time. Returns a NotFound
	// fault for an id without a link.
	Plug(ctx context.Context, id string) (Plug, error)

	// Guest returns how the VM has to configure its card. It is a pure
	// function of the link.
	Guest(l Link) Guest

	// List returns all links, ordered by id.
	List(ctx context.Context) ([]Link, error)

	// Traffic returns what each link has carried since it was made, by the links'
	// ids. A link that is being made or removed may be missing. Returns an
	// Unavailable fault where nothing counts, as in a switch from before it could.
	Traffic(ctx context.Context) (map[string]Traffic, error)

	// Cut ends the connections that came in through ports which are closed by
	// now: Ensure alone leaves them. Returns a NotFound fault for an id without
	// a link.
	Cut(ctx context.Context, id string) error

	// Destroy closes all ports and removes the link. One that doesn't exist
	// is no error.
	Destroy(ctx context.Context, id string) error
}

// Link is one VM's connection.
type Link struct {
	ID      string     `json:"id"`      // [A-Za-z0-9-]+, at most 64 characters
	Address netip.Addr `json:"address"` // the public address
	MAC     string     `json:"mac"`
	Ports   []Port     `json:"ports"` // open ports, no duplicates, any order
}

// Traffic is what a link has carried, as its VM sees it: whole frames, also those that
// a rule has dropped behind it. Several that the host's kernel took as one count as one.
type Traffic struct {
	BytesIn    uint64 `json:"bytes_in"`
	BytesOut   uint64 `json:"bytes_out"`
	PacketsIn  uint64 `json:"packets_in"`
	PacketsOut uint64 `json:"packets_out"`
}

// Port is a port that answers on the VM's public address.
type Port struct {
	Number   uint16 `json:"number"`
	Protocol string `json:"protocol"` // "tcp" or "udp"
}

// Plug is the VM's end of a link.
type Plug struct {
	Kind string   // "tap" or "stream", as hypervisor.PlugKind
	File *os.File // the receiver closes it
}

// Guest is the network configuration that a VM has to use.
type Guest struct {
	DHCP     bool         // ask for everything below by DHCP
	Address  netip.Prefix // inside the VM; not always the public one
	Gateway  netip.Addr   // on the VM's link, whatever Address says
	Address6 netip.Prefix // not valid where there is no IPv6
	Gateway6 netip.Addr   // on the VM's link
	DNS      []netip.Addr
}
