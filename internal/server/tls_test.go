package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/server"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = a.sign(t, true)
	return a
}

func (a *authority) sign(t *testing.T, root bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.last++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: root,
	}
	parent, signer := a.cert, a.key
	if root {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// write replaces two files by a new certificate and its key, and returns its number.
func (a *authority) write(t *testing.T, certFile, keyFile string) int64 {
	t.Helper()
	cert, key := a.sign(t, false)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	replace(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return cert.SerialNumber.Int64()
}

func replace(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// client returns one that trusts the authority alone and keeps no connection.
func (a *authority) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
}

// serial asks over a new connection and returns the number of the certificate
// that the server showed.
func serial(t *testing.T, c *http.Client, url string) int64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	if res.StatusCode != http.StatusOK || res.TLS == nil {
		t.Fatalf("GET %s = %s, encrypted %t", url, res.Status, res.TLS != nil)
	}
	return res.TLS.PeerCertificates[0].SerialNumber.Int64()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	a, dir := newAuthority(t), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	number := a.write(t, cert, key)
	s := start(t, func(c *server.Config) { c.TLSCert, c.TLSKey = cert, key })
	if !strings.HasPrefix(s.URL, "https://127.0.0.1:") {
		t.Errorf("URL %s, want https", s.URL)
	}
	if got := serial(t, a.client(), s.URL); got != number {
		t.Errorf("certificate %d, want %d", got, number)
	}

	plain := strings.Replace(s.URL, "https", "http", 1)
	if status, body := get(t, plain+"/healthz"); status == http.StatusOK || strings.Contains(body, "status") {
		t.Errorf("plain http: %d %q, want a refusal", status, body)
	}
	if err := reach(t, newAuthority(t).client(), s.URL); err == nil {
		t.Error("a client that trusts another authority went on")
	}
	old := a.client()
	settings := old.Transport.(*http.Transport).TLSClientConfig
	settings.MinVersion, settings.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if err := reach(t, old, s.URL); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

func reach(t *testing.T, c *http.Client, url string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// Who shares the process trusts the server without an authority, over renewals
// too, and no other server with the same name.
func TestClientOfTheSameProcess(t *testing.T) {
	t.Parallel()
	if c := start(t, nil).Client(); c != nil {
		t.Error("a server without TLS has a client of its own")
	}
	a, dir := newAuthority(t), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	a.write(t, cert, key)
	s := start(t, func(c *server.Config) { c.TLSCert, c.TLSKey = cert, key })
	a.write(t, filepath.Join(dir, "other"), filepath.Join(dir, "other-key"))
	other := start(t, func(c *server.Config) {
		c.TLSCert, c.TLSKey = filepath.Join(dir, "other"), filepath.Join(dir, "other-key")
	})
	for range 2 {
		own := s.Client()
		if err := reach(t, own, s.URL); err != nil {
			t.Errorf("its own server: %v", err)
		}
		if err := reach(t, own, other.URL); err == nil {
			t.Error("another server of the same authority was trusted")
		}
		own.CloseIdleConnections()
		a.write(t, cert, key)
	}
}

// An agent is answered over TLS as it is without.
func TestTLSAgent(t *testing.T) {
	t.Parallel()
	a, dir := newAuthority(t), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	a.write(t, cert, key)
	s := start(t, func(c *server.Config) { c.TLSCert, c.TLSKey = cert, key })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/agent/v1/sync", bytes.NewBufferString("{}"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := a.client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusUnauthorized || res.Header.Get("Cpucloud-Signature") == "" {
		t.Errorf("an agent that has not joined: %s %s, %v; want a signed 401", res.Status, text, err)
	}
}

// Certificates are renewed while the server runs; a half-written or broken one
// leaves the one before in place.
func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	a, dir := newAuthority(t), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := a.write(t, cert, key)
	s := start(t, func(c *server.Config) { c.TLSCert, c.TLSKey = cert, key })
	if got := serial(t, a.client(), s.URL); got != first {
		t.Fatalf("certificate %d, want %d", got, first)
	}
	second := a.write(t, cert, key)
	if got := serial(t, a.client(), s.URL); got != second {
		t.Errorf("after the renewal: certificate %d, want %d", got, second)
	}
	replace(t, cert, []byte("broken"))
	if got := serial(t, a.client(), s.URL); got != second {
		t.Errorf("with a broken file: certificate %d, want %d", got, second)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if got := serial(t, a.client(), s.URL); got != second {
		t.Errorf("without a key: certificate %d, want %d", got, second)
	}
	third := a.write(t, cert, key)
	if got := serial(t, a.client(), s.URL); got != third {
		t.Errorf("after all: certificate %d, want %d", got, third)
	}
}

func TestCertificateThatIsNone(t *testing.T) {
	t.Parallel()
	a, dir := newAuthority(t), t.TempDir()
	cert, key, other := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "other.pem")
	a.write(t, cert, other)
	a.write(t, cert, key)
	for name, files := range map[string][2]string{
		"no key": {cert, ""}, "no certificate": {"", key}, "missing": {cert, filepath.Join(dir, "none")},
		"of another": {cert, other}, "changed over": {key, cert},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := server.Start(t.Context(), server.Config{
				Listen: "127.0.0.1:0", TLSCert: files[0], TLSKey: files[1], Log: slog.New(slog.DiscardHandler), Now: time.Now, Rand: rand.Reader,
				Database: filepath.Join(t.TempDir(), "cloud.db"),
			})
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("Start: %v, want an Invalid fault", err)
			}
			if err == nil {
				_ = s.Stop(context.Background())
			}
		})
	}
}
