package agent_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/cpucloud/cpucloud/internal/agent"
)

func TestReadSSHBanner(t *testing.T) {
	t.Parallel()
	for greeting, good := range map[string]bool{"SSH-2.0-x\r\n": true, "220 smtp\r\n": false, "": false, "SS": false} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			if conn, err := l.Accept(); err == nil {
				_, _ = conn.Write([]byte(greeting))
				_ = conn.Close()
			}
		}()
		if err := agent.ReadSSHBanner(t.Context(), netip.MustParseAddrPort(l.Addr().String())); (err == nil) != good {
			t.Errorf("banner %q: %v, want good %t", greeting, err, good)
		}
	}
	// A listener that says nothing is left when the caller is.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if conn, err := l.Accept(); err == nil {
			defer func() { _ = conn.Close() }()
			cancel()
			<-t.Context().Done()
		}
	}()
	if err := agent.ReadSSHBanner(ctx, netip.MustParseAddrPort(l.Addr().String())); err == nil {
		t.Error("a silent listener was taken for SSH")
	}
}
