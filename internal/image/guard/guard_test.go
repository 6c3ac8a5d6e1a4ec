package guard_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/guard"
)

func TestPublic(t *testing.T) {
	t.Parallel()

	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.77.0.5", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255",
		"198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
		"64:ff9b:1::a00:1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1",
		"3fff::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
	} {
		if guard.Public(netip.MustParseAddr(a)) {
			t.Errorf("Public(%s) = true", a)
		}
	}
	for _, a := range []string{
		"1.1.1.1", "9.9.9.9", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.167.0.1", "223.255.255.255",
		"2606:4700:4700::1111", "2a01:4f8::1", "::ffff:8.8.8.8",
	} {
		if !guard.Public(netip.MustParseAddr(a)) {
			t.Errorf("Public(%s) = false", a)
		}
	}
	if guard.Public(netip.Addr{}) {
		t.Error("the zero address is public")
	}
}

// server counts its requests and answers them with h.
func server(t *testing.T, h http.HandlerFunc) (*httptest.Server, *int) {
	t.Helper()
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n++; h(w, r) }))
	t.Cleanup(s.Close)
	return s, &n
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

func get(t *testing.T, g *guard.Guard, address string) error {
	t.Helper()
	c := g.Client()
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func host(t *testing.T, s *httptest.Server) (hostport, port string) {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host, u.Port()
}

// However the address of this host is spelled, the server isn't reached.
func TestPrivateAddressesAreRefusedInEverySpelling(t *testing.T) {
	t.Parallel()

	s, n := server(t, ok)
	_, port := host(t, s)
	g := guard.New(guard.Config{})
	for _, h := range []string{"127.0.0.1", "localhost", "LocalHost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"} {
		err := get(t, g, "http://"+h+":"+port+"/")
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want an Invalid fault", h, err)
		}
	}
	// Spellings that only some resolvers know: refused, or no such host.
	for _, h := range []string{"2130706433", "0177.0.0.1", "0x7f.1", "127.1", "0"} {
		if err := get(t, g, "http://"+h+":"+port+"/"); err == nil {
			t.Errorf("%s was reached", h)
		}
	}
	if *n != 0 {
		t.Errorf("the server was reached %d times", *n)
	}
}

func TestOperatorAllowsHosts(t *testing.T) {
	t.Parallel()

	s, _ := server(t, ok)
	hostport, port := host(t, s)
	for _, c := range []struct {
		allow string
		url   string
		want  bool
	}{
		{"127.0.0.1", s.URL, true},
		{hostport, s.URL, true},
		{"LocalHost.", "http://localhost:" + port, true},
		{"127.0.0.1:1", s.URL, false},
		{"localhost", s.URL, false},
		{"127.0.0.1", "http://localhost:" + port, false}, // by the name in the URL
	} {
		err := get(t, guard.New(guard.Config{Allow: []string{c.allow}}), c.url)
		if (err == nil) != c.want {
			t.Errorf("allow %s, get %s: %v, want allowed = %v", c.allow, c.url, err, c.want)
		}
	}
	if err := get(t, guard.New(guard.Config{}).With(hostport), s.URL); err != nil {
		t.Errorf("With(%s): %v", hostport, err)
	}
}

// All are refused before a packet is sent.
func TestDeniedNetworksAndPorts(t *testing.T) {
	t.Parallel()

	g := guard.New(guard.Config{Deny: []netip.Prefix{netip.MustParsePrefix("9.9.9.0/24")}})
	for _, address := range []string{"9.9.9.9:443", "1.1.1.1:25", "1.1.1.1:22", "1.1.1.1:0", "1.1.1.1:99999", "1.1.1.1"} {
		if _, err := g.DialContext(t.Context(), "tcp", address); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want an Invalid fault", address, err)
		}
	}
}

// A server may have a public address of its own, whose services trust it.
func TestOwnAddressesAreRefused(t *testing.T) {
	t.Parallel()

	own := func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.IPv4(9, 9, 9, 9), Mask: net.CIDRMask(24, 32)}}, nil
	}
	unknown := func() ([]net.Addr, error) { return nil, errors.New("no") }
	for name, c := range map[string]struct {
		own  func() ([]net.Addr, error)
		addr string
		want bool
	}{
		"own":       {own, "9.9.9.9:443", false},
		"neighbour": {own, "9.9.9.10:443", true},
		"unknown":   {unknown, "9.9.9.10:443", false},
	} {
		err := guard.Check(guard.New(guard.Config{Own: c.own}), "example.org", c.addr)
		if (err == nil) != c.want {
			t.Errorf("%s: got %v, want allowed = %v", name, err, c.want)
		}
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()

	target, reached := server(t, ok)
	to := func(address string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, address, http.StatusFound) }
	}
	_, targetPort := host(t, target)
	for name, address := range map[string]string{
		"private host": "http://localhost:" + targetPort,
		"other port":   "http://127.0.0.2:" + targetPort,
		"other scheme": "file:///etc/passwd",
		"ftp":          "ftp://127.0.0.1/",
		"metadata":     "http://169.254.169.254/latest/meta-data",
	} {
		s, _ := server(t, to(address))
		hostport, _ := host(t, s)
		err := get(t, guard.New(guard.Config{Allow: []string{hostport}}), s.URL)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want an Invalid fault", name, err)
		}
	}
	if *reached != 0 {
		t.Errorf("the target was reached %d times", *reached)
	}

	var loop *httptest.Server
	loop, hops := server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, loop.URL, http.StatusFound) })
	hostport, _ := host(t, loop)
	err := get(t, guard.New(guard.Config{Allow: []string{hostport}}), loop.URL)
	if !fault.Is(err, fault.Invalid) || *hops != 6 {
		t.Errorf("endless redirects: %v after %d requests, want an Invalid fault after 6", err, *hops)
	}

	// One with a password isn't, even if the host is allowed.
	s, _ := server(t, to("http://user:secret@127.0.0.1:"+targetPort))
	err = get(t, guard.New(guard.Config{Allow: []string{"127.0.0.1"}}), s.URL)
	if !fault.Is(err, fault.Invalid) || strings.Contains(fault.Message(err), "secret") || *reached != 0 {
		t.Errorf("a redirect with a password: got %v, want an Invalid fault without it", err)
	}

	// To an allowed host they are followed.
	s, _ = server(t, to(target.URL))
	if err := get(t, guard.New(guard.Config{Allow: []string{"127.0.0.1"}}), s.URL); err != nil || *reached != 1 {
		t.Errorf("a redirect to an allowed host: %v", err)
	}
}

func TestNoWayFromHTTPSToHTTP(t *testing.T) {
	t.Parallel()

	plain, n := server(t, ok)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, plain.URL, http.StatusFound)
		}
	}))
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	g := guard.New(guard.Config{Allow: []string{"127.0.0.1"}, RootCAs: roots})
	if err := get(t, g, s.URL); err != nil {
		t.Fatalf("https: %v", err)
	}
	if err := get(t, g, s.URL+"/down"); !fault.Is(err, fault.Invalid) || *n != 0 {
		t.Errorf("got %v, want an Invalid fault and no request", err)
	}
	if err := get(t, guard.New(guard.Config{Allow: []string{"127.0.0.1"}}), s.URL); err == nil {
		t.Error("a certificate that nobody signed was accepted")
	}
}

func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()

	s, _ := server(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 1000 {
			w.Header().Set(fmt.Sprintf("X-Long-%d", i), strings.Repeat("x", 1000))
		}
	})
	if err := get(t, guard.New(guard.Config{Allow: []string{"127.0.0.1"}}), s.URL); err == nil {
		t.Error("a megabyte of headers was accepted")
	}
}

//nolint:paralleltest // sets the environment
func TestProxyVariablesAreIgnored(t *testing.T) {
	proxy, n := server(t, ok)
	for _, v := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(v, proxy.URL)
	}
	tr, good := guard.New(guard.Config{}).Client().Transport.(*http.Transport)
	if !good || tr.Proxy != nil {
		t.Error("the client has a proxy")
	}
	if err := get(t, guard.New(guard.Config{Allow: []string{"127.0.0.1"}}), "http://host.invalid/"); err == nil || *n != 0 {
		t.Errorf("got %v and %d requests at the proxy, want an error and none", err, *n)
	}
}

func TestFaultSurvivesTheClient(t *testing.T) {
	t.Parallel()

	err := get(t, guard.New(guard.Config{}), "http://127.0.0.1:8080/?token=secret")
	f, isFault := errors.AsType[*fault.Error](err)
	if !isFault || strings.Contains(f.Message, "secret") {
		t.Errorf("got %v, want a fault without the token", err)
	}
}
