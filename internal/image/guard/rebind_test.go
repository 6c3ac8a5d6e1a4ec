package guard_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/guard"
)

// names answers each question of DNS with the addresses that answers says for the
// n-th question of a name's IPv4 addresses.
func names(t *testing.T, answers func(n int64) []netip.Addr) *net.Resolver {
	t.Helper()
	server, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	var asked atomic.Int64
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(reply(buf[:n], func() []netip.Addr { return answers(asked.Add(1)) }), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// reply answers one question; see RFC 1035, 4.1.
func reply(q []byte, answers func() []netip.Addr) []byte {
	end := 12
	for end < len(q) && q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5 // the root, type and class
	var list []netip.Addr
	if kind := binary.BigEndian.Uint16(q[end-4:]); kind == 1 {
		list = answers()
	}
	out := append([]byte{}, q[:end]...)
	copy(out[2:], []byte{0x81, 0x80, 0, 1, 0, byte(len(list)), 0, 0, 0, 0})
	for _, a := range list {
		out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		out = append(out, a.AsSlice()...)
	}
	return out
}

// A name that was harmless when it was looked at, and leads here when it is dialled,
// or that leads to both, is refused: what counts is what is connected to.
func TestRebinding(t *testing.T) {
	t.Parallel()

	s, reached := server(t, ok)
	_, port := host(t, s)
	public, here := netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("127.0.0.1")
	for name, answers := range map[string]func(n int64) []netip.Addr{
		"another answer the second time": func(n int64) []netip.Addr {
			if n == 1 {
				return []netip.Addr{public}
			}
			return []netip.Addr{here}
		},
		"both at once": func(int64) []netip.Addr { return []netip.Addr{public, here} },
		"only here":    func(int64) []netip.Addr { return []netip.Addr{here} },
	} {
		r := names(t, answers)
		first, err := r.LookupNetIP(t.Context(), "ip4", "rebind.example")
		if err != nil || len(first) == 0 {
			t.Fatalf("%s: looked up %v, %v", name, first, err)
		}
		g := guard.New(guard.Config{Resolver: r, Deny: []netip.Prefix{netip.MustParsePrefix("9.9.9.0/24")}})
		if err := get(t, g, "http://rebind.example:"+port+"/"); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want an Invalid fault", name, err)
		}
		allowed := guard.New(guard.Config{Resolver: r, Allow: []string{"rebind.example"}})
		if name == "only here" {
			if err := get(t, allowed, "http://rebind.example:"+port+"/"); err != nil || *reached != 1 {
				t.Errorf("the name leads nowhere, which shows nothing: %v", err)
			}
		}
	}
	if *reached != 1 {
		t.Errorf("the server was reached %d times, want once by who may", *reached)
	}
}

// A redirect may lead to another host, but not to any port of it.
func TestPortsOfRedirects(t *testing.T) {
	t.Parallel()

	follow := guard.New(guard.Config{Allow: []string{"mirror.lan:8000"}}).Client().CheckRedirect
	for to, want := range map[string]bool{
		"http://example.org/a": true, "https://example.org/a": true, "http://example.org:9000/a": true, "http://example.org:80/": true,
		"http://example.org:6379/": false, "https://example.org:8443/": false, "http://mirror.lan:8000/": true, "http://mirror.lan:8001/": false,
	} {
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		from := &http.Request{URL: &url.URL{Scheme: "http", Host: "example.org:9000"}}
		if err := follow(&http.Request{URL: u}, []*http.Request{from}); (err == nil) != want || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("from port 9000 to %s: %v, want followed = %v", to, err, want)
		}
	}
}
