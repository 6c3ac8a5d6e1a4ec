package image

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/guard"
)

// Mirror says where else the images are whose address begins with Prefix. The
// address stays their name.
type Mirror struct {
	Prefix      string // "https://cloud.debian.org/images/", with the final slash
	Replacement string // "http://mirror.lan/debian/"; its host need not be public
}

// mirror is a Mirror with the client that may reach it. Only mapped addresses
// are fetched with that client: customers can't name the mirror themselves.
type mirror struct {
	Mirror
	client *http.Client
}

// newMirrors returns the mirrors in the order in which they are tried.
func newMirrors(g *guard.Guard, list []Mirror) ([]mirror, error) {
	var all []mirror
	for _, m := range list {
		u, err := url.Parse(m.Replacement)
		if err != nil || u.Host == "" || !strings.HasSuffix(m.Prefix, "/") || !strings.HasSuffix(u.Path, "/") ||
			u.Scheme != "http" && u.Scheme != "https" {
			return nil, fault.Newf(fault.Invalid, "the mirror for %q has to map an address with a final slash to another one", Redact(m.Prefix))
		}
		all = append(all, mirror{m, g.With(u.Host).Client()})
	}
	return all, nil
}

// source returns where to fetch address, and with what.
func (c *Cache) source(address string) (string, *http.Client) {
	for _, m := range c.mirrors {
		if rest, ok := strings.CutPrefix(address, m.Prefix); ok {
			return m.Replacement + rest, m.client
		}
	}
	return address, c.direct
}
