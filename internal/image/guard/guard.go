// Package guard makes HTTP requests to addresses that a customer chose without
// letting the customer reach what only this host can reach.
//
// The address is checked when the socket is connected, so neither the spelling
// of a host name, nor a redirect, nor a name that resolves differently the
// second time gets around it.
package guard

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Limits of one request. The body is the reader's to limit.
const (
	dialTimeout   = 10 * time.Second
	headerTimeout = 30 * time.Second
	headerBytes   = 64 << 10
	maxRedirects  = 5
)

// Config of a Guard. The zero value reaches the public internet alone.
type Config struct {
	Allow   []string       // hosts ("mirror.lan") or host:port that may lie anywhere, as written in the URL
	Deny    []netip.Prefix // further networks to refuse: the provider's own public ones
	RootCAs *x509.CertPool // who may sign servers' certificates; nil: the system's list

	Own      func() ([]net.Addr, error) // this host's addresses; nil: net.InterfaceAddrs
	Resolver *net.Resolver              // looks names up; nil: the system's
}

// Guard decides which addresses may be connected to.
type Guard struct {
	allow map[string]bool
	deny  []netip.Prefix
	roots *x509.CertPool
	own   func() ([]net.Addr, error)
	names *net.Resolver
}

// New returns a Guard.
func New(c Config) *Guard {
	g := &Guard{allow: make(map[string]bool), deny: c.Deny, roots: c.RootCAs, own: c.Own, names: c.Resolver}
	if g.own == nil {
		g.own = net.InterfaceAddrs
	}
	for _, h := range c.Allow {
		g.allow[canonical(h)] = true
	}
	return g
}

// With returns a Guard like g that also allows host, which is written as in
// Config.Allow.
func (g *Guard) With(host string) *Guard {
	w := &Guard{allow: map[string]bool{canonical(host): true}, deny: g.deny, roots: g.roots, own: g.own, names: g.names}
	for h := range g.allow {
		w.allow[h] = true
	}
	return w
}

// Client returns an HTTP client whose every connection passes g. It knows no
// proxy, no cookies and no compression of its own, follows five redirects and
// never leaves https. The errors of its requests carry Invalid faults where g
// refused something; their whole text repeats addresses with all that is
// secret in them, so that only the fault may be shown or logged.
func (g *Guard) Client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            g.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: g.roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dialTimeout,
			ResponseHeaderTimeout:  headerTimeout,
			MaxResponseHeaderBytes: headerBytes,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           4,
			IdleConnTimeout:        headerTimeout,
		},
		CheckRedirect: g.redirect,
	}
}

// DialContext connects to address, which is "host:port". It returns an Invalid
// fault for a host that is neither allowed nor public.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, Resolver: g.names}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the address has no host and port")
	}
	if !g.allowed(host, port) {
		if err := checkPort(port); err != nil {
			return nil, err
		}
		d.Control = func(_, dialled string, _ syscall.RawConn) error { return g.check(host, dialled) }
	}
	return d.DialContext(ctx, network, address)
}

// check judges the address that is really being connected to.
func (g *Guard) check(host, dialled string) error {
	refused := fault.Newf(fault.Invalid, "the host %q is not on the public internet; the operator of the server can allow it", host)
	ap, err := netip.ParseAddrPort(dialled)
	if err != nil {
		return refused
	}
	a := ap.Addr().Unmap().WithZone("")
	if !Public(a) || g.isOwn(a) {
		return refused
	}
	for _, p := range g.deny {
		if p.Contains(a) {
			return refused
		}
	}
	return nil
}

// isOwn reports whether a belongs to this host, whose services may trust it. When
// the host can't tell, everything is its own.
func (g *Guard) isOwn(a netip.Addr) bool {
	addrs, err := g.own()
	if err != nil {
		return true
	}
	for _, x := range addrs {
		if p, err := netip.ParsePrefix(x.String()); err == nil && p.Addr().Unmap() == a {
			return true
		}
	}
	return false
}

// checkPort refuses the well-known ports of other protocols, so that a URL
// can't be used to speak to mail servers and the like.
func checkPort(port string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n < 1024 && n != 80 && n != 443 {
		return fault.Newf(fault.Invalid, "port %q is not one of a web server", port)
	}
	return nil
}

// redirect is asked before each redirect is followed.
func (g *Guard) redirect(next *http.Request, via []*http.Request) error {
	last := via[len(via)-1].URL
	switch {
	case len(via) > maxRedirects:
		return fault.Newf(fault.Invalid, "the server redirects more than %d times", maxRedirects)
	case next.URL.Scheme != "https" && next.URL.Scheme != "http":
		return fault.Newf(fault.Invalid, "the server redirects to %q, which is neither http nor https", next.URL.Scheme)
	case last.Scheme == "https" && next.URL.Scheme == "http":
		return fault.New(fault.Invalid, "the server redirects from https to http")
	case next.URL.User != nil:
		return fault.New(fault.Invalid, "the server redirects to an address with a password in it")
	}
	host, port := next.URL.Hostname(), portOf(next.URL)
	if port != portOf(last) && port != "80" && port != "443" && !g.allowed(host, port) {
		return fault.Newf(fault.Invalid, "the server redirects to port %q", port)
	}
	return nil
}

// allowed reports whether the operator lets host, as written, lie anywhere.
func (g *Guard) allowed(host, port string) bool {
	h := canonical(host)
	return g.allow[h] || g.allow[net.JoinHostPort(h, port)]
}

// Allows reports whether the operator lets the host of u, as written, lie anywhere.
func (g *Guard) Allows(u *url.URL) bool { return g.allowed(u.Hostname(), portOf(u)) }

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

func canonical(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }
