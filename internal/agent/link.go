package agent

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// linkOf returns the network connection that o asks for.
func linkOf(o vm.Order) network.Link {
	ports := make([]network.Port, 0, len(o.Ports))
	for _, p := range o.Ports {
		ports = append(ports, network.Port{Number: p.Number, Protocol: string(p.Protocol)})
	}
	return network.Link{ID: o.ID, Address: o.Address, MAC: mac(o.ID), Ports: ports}.Sorted()
}

// mac derives the address of a VM's card from its id, so that it stays the
// same over restarts without being kept. 52:54:00 is QEMU's.
func mac(id string) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", sum[0], sum[1], sum[2])
}

// portList returns ports for a customer: "22/tcp, 8080/tcp".
func portList(ports []vm.Port) string {
	if len(ports) == 0 {
		return "none"
	}
	words := make([]string, 0, len(ports))
	for _, p := range ports {
		words = append(words, fmt.Sprintf("%d/%s", p.Number, p.Protocol))
	}
	return strings.Join(words, ", ")
}
