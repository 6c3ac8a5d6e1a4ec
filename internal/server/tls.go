package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// certificate is what the server proves its name with: two PEM files, which are
// read again when one of them changes.
type certificate struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	read   [2]stamp // of the files that pair is made of
	failed [2]stamp // of files that made no pair
}

// stamp tells versions of a file apart, also those of one moment.
type stamp struct {
	modified time.Time
	size     int64
	inode    uint64
}

// openCertificate reads the two files; without both there is none. Returns an
// Invalid fault for only one, and for files that are no certificate and its key.
func openCertificate(cert, key string, log *slog.Logger) (*certificate, error) {
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, fault.New(fault.Invalid, "TLS needs both files: the certificate with --tls-cert and its key with --tls-key")
	}
	c := &certificate{cert: cert, key: key, log: log}
	c.read = c.stamps()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "the certificate of --tls-cert and --tls-key can't be used: %v", err)
	}
	c.pair = &pair
	return c, nil
}

// config returns how connections are secured.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.current}
}

// current returns the newest pair. A renewed one whose two files do not fit, as
// while they are being written, leaves the old one in use.
func (c *certificate) current(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := c.stamps()
	c.mu.Lock()
	defer c.mu.Unlock()
	if now == c.read {
		return c.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		if now != c.failed {
			c.log.ErrorContext(hello.Context(), "renewed certificate not used, the old one stays", "error", err)
		}
		c.failed = now
		return c.pair, nil
	}
	c.pair, c.read, c.failed = &pair, now, [2]stamp{}
	c.log.InfoContext(hello.Context(), "renewed certificate in use", "expires", pair.Leaf.NotAfter)
	return c.pair, nil
}

func (c *certificate) stamps() (s [2]stamp) {
	for i, name := range []string{c.cert, c.key} {
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		s[i] = stamp{modified: info.ModTime(), size: info.Size()}
		if file, ok := info.Sys().(*syscall.Stat_t); ok {
			s[i].inode = file.Ino
		}
	}
	return s
}

// Client returns a client for who shares the process: it trusts the server's
// certificate, whoever made it and whatever names it holds, and no other. Nil
// without TLS.
func (s *Server) Client() *http.Client {
	if s.certificate == nil {
		return nil
	}
	return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // what is verified is below
		VerifyConnection:   s.certificate.isPeer,
	}}}
}

// isPeer returns an error unless the other side has shown this certificate.
func (c *certificate) isPeer(state tls.ConnectionState) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	same := func(shown *x509.Certificate) bool { return shown.Equal(c.pair.Leaf) }
	if !slices.ContainsFunc(state.PeerCertificates[:min(1, len(state.PeerCertificates))], same) {
		return errors.New("another server answers at this address")
	}
	return nil
}
