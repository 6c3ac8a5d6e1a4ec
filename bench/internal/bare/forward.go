package bare

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Forward returns QEMU's own network with a free port of 127.0.0.1 that leads to
// the guest's SSH.
func Forward(ctx context.Context) (netdev string, at netip.AddrPort, err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", at, err
	}
	at, err = netip.ParseAddrPort(l.Addr().String())
	return fmt.Sprintf("user,hostfwd=tcp:%s-:22", at), at, errors.Join(err, l.Close())
}
