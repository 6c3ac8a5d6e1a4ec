package bare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/cpucloud/cpucloud/internal/image/seed"
)

// Card is what a machine's network card leads to.
type Card struct {
	Netdev string         // of QEMU, without its id
	Files  []*os.File     // that QEMU gets, from number 3 on
	SSH    netip.AddrPort // where the guest answers
}

// Forward returns a card at QEMU's own network, with a free port of 127.0.0.1 that
// leads to the guest.
func Forward(ctx context.Context) (Card, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return Card{}, err
	}
	at, err := netip.ParseAddrPort(l.Addr().String())
	return Card{Netdev: fmt.Sprintf("user,hostfwd=tcp:%s-:22", at), SSH: at}, errors.Join(err, l.Close())
}

// Tap returns a card at an open tap, behind which a guest has the address.
func Tap(tap *os.File, address netip.Addr) Card {
	return Card{Netdev: "tap,fd=3", Files: []*os.File{tap}, SSH: netip.AddrPortFrom(address, 22)}
}

// Close closes the card's files here.
func (c Card) Close() {
	for _, f := range c.Files {
		_ = f.Close() // QEMU has it, or nobody
	}
}

// MAC returns that of the machine's card.
func (m *Machine) MAC() (string, error) {
	for i, option := range m.args {
		var device struct{ Driver, MAC string }
		if i > 0 && m.args[i-1] == "-device" && json.Unmarshal([]byte(option), &device) == nil && device.MAC != "" {
			return device.MAC, nil
		}
	}
	return "", fmt.Errorf("the cloud's QEMU has no card: %q", slices.Clone(m.args))
}

// Reseed has the machine's guest told s in the place of what the cloud's was told.
func (m *Machine) Reseed(s seed.Seed) error { return seed.WriteFile(filepath.Join(m.dir, seedFile), s) }
