package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// authorities returns whom to believe beside the system's list: the authorities
// in a PEM file. Nil is the system's list alone.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "the authority's certificate can't be read: %v", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fault.Newf(fault.Invalid, "%s holds no certificate: give a PEM file, which begins with -----BEGIN CERTIFICATE-----", file)
	}
	return pool, nil
}

// clientOf returns a client that believes pool; nil is the usual one.
func clientOf(pool *x509.CertPool) *http.Client {
	if pool == nil {
		return nil
	}
	return &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}}
}
