//go:build vm

package vmtest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cpucloud/cpucloud/client"
)

// joinWithin is how long it may take from a bare machine to a VM on it.
const joinWithin = 5 * time.Minute

// control is the address of the control plane that providers dial.
const control = "10.99.0.1:8443"

// marketplace is `cpucloud server` in a network that providers' machines reach
// and that reaches none of them.
type marketplace struct {
	*testing.T
	net   namespace
	dir   string
	http  *http.Client
	admin string // the operator's key
	key   key
}

// newMarketplace starts a control plane with a certificate of its own authority.
func newMarketplace(t *testing.T) *marketplace {
	t.Helper()
	m := &marketplace{T: t, net: newNamespace(t, "cloud"), dir: t.TempDir(), key: newKey(t)}
	m.net.run("ip", "address", "add", "10.99.0.1/32", "dev", "lo")
	trusted := m.certificate()
	m.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: m.net.dial, TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12},
	}}
	folder, err := filepath.Abs(images)
	if err != nil {
		t.Fatal(err)
	}
	m.start(m.net, "server", "server", "--data", m.file("server"), "--listen", "0.0.0.0:8443", "--public-url", "https://"+control,
		"--images", folder, "--tls-cert", m.file("cert.pem"), "--tls-key", m.file("key.pem"))
	m.until("the control plane answers", func() bool {
		text, err := os.ReadFile(m.file("server", "admin.env"))
		_, after, found := strings.Cut(string(text), "CPUCLOUD_ADMIN_KEY=")
		m.admin = strings.TrimSpace(after)
		return err == nil && found
	})
	return m
}

func (m *marketplace) file(name ...string) string {
	return filepath.Join(append([]string{m.dir}, name...)...)
}

// certificate writes a certificate for the control plane's address.
func (m *marketplace) certificate() *x509.CertPool {
	m.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.Fatal(err)
	}
	host, _, _ := strings.Cut(control, ":")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cloud"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(host)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		m.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		m.Fatal(err)
	}
	pool := x509.NewCertPool()
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(m.file(name), pem.EncodeToMemory(block), 0o600); err != nil {
			m.Fatal(err)
		}
	}
	text, err := os.ReadFile(m.file("cert.pem"))
	if err != nil || !pool.AppendCertsFromPEM(text) {
		m.Fatalf("read certificate: %v", err)
	}
	return pool
}

// start runs a process of the program inside a namespace until the test ends.
func (m *marketplace) start(n namespace, name string, args ...string) {
	m.Helper()
	log, err := os.Create(m.file(name + ".log"))
	if err != nil {
		m.Fatal(err)
	}
	cmd := n.command(append([]string{m.program()}, args...)...)
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+m.file("cert.pem"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		m.Fatalf("start %s: %v", name, err)
	}
	m.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			m.Errorf("end %s: %v", name, err)
		}
		_ = cmd.Wait() // how it ended is in its log
		if err := log.Close(); err != nil {
			m.Error(err)
		}
		if m.Failed() {
			text, _ := os.ReadFile(m.file(name + ".log"))
			m.Logf("%s said:\n%s", name, text[max(0, len(text)-10_000):])
		}
	})
}

func (m *marketplace) program() string {
	m.Helper()
	path, err := filepath.Abs(program)
	if err != nil {
		m.Fatal(err)
	}
	return path
}

// cli runs the command line as the owner of a key.
func (m *marketplace) cli(key, stdin string, args ...string) string {
	m.Helper()
	cmd := m.net.command(append([]string{m.program()}, args...)...)
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+m.file("cert.pem"), "CPUCLOUD_URL=https://"+control, "CPUCLOUD_API_KEY="+key)
	cmd.Stdin = strings.NewReader(stdin)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		m.Fatalf("cpucloud %v: %v: %s", args, err, said.String())
	}
	return strings.TrimSpace(string(out))
}

func (m *marketplace) client(key string) *client.Client {
	return client.New("https://"+control, key, client.WithHTTPClient(m.http))
}

// member makes an account with money and returns its key.
func (m *marketplace) member(name string) string {
	m.Helper()
	operator := m.client(m.admin)
	made, err := operator.CreateAccount(m.Context(), name, "customer")
	if err != nil {
		m.Fatalf("make account: %v", err)
	}
	if _, err := operator.SetBalance(m.Context(), made.ID, "100", "to begin with"); err != nil {
		m.Fatalf("set balance: %v", err)
	}
	return made.APIKey
}

func (m *marketplace) until(what string, cond func() bool) {
	m.Helper()
	(&cloud{T: m.T}).until(what, cond)
}

const listing = `provider: %[1]s
datacenters:
  - {country: %[2]s, city: %[3]s, index: 1, tier: 2}
offers:
  - name: standard
    datacenter: %[4]s
    prices: {vcpu: "%[5]s", ram: "0.02", storage: "0.004", address: "0.02"}
`

// list makes a provider with an offer, and returns its key.
func (m *marketplace) list(name, country, city, vcpu string) string {
	m.Helper()
	key := m.member(name)
	m.cli(key, "", "provider", "create", name)
	slug := strings.ToLower(country + "-" + city + "-1")
	m.cli(key, fmt.Sprintf(listing, name, country, city, slug, vcpu), "provider", "apply", "-f", "-", "--yes")
	return key
}

// provide takes a bare machine into the marketplace, as its provider does.
func (m *marketplace) provide(n namespace, name, country, city, vcpu string, flags ...string) {
	m.Helper()
	key := m.list(name, country, city, vcpu)
	token := m.cli(key, "", "provider", "token", "--name", "rack-1")
	data := m.file(name)
	m.start(n, name+"-agent", append([]string{
		"agent", "join", "--server", "https://" + control, "--token", token, "--ca-file", m.file("cert.pem"),
		"--data", data, "--foreground", "--vcpu", "8", "--ram", "16", "--storage", "200",
	}, flags...)...)
	m.Cleanup(func() {
		if out, err := n.command(m.program(), "down", "--data", data).CombinedOutput(); err != nil {
			m.Errorf("end the machines of %s: %v: %s", name, err, out)
		}
	})
}

// Two machines that can only dial out join as servers of two providers, are
// measured and listed, and run the VMs of the customers that they fit.
func TestProvidersJoin(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("making networks needs root")
	}
	m := newMarketplace(t)
	machines := map[string]namespace{}
	began := time.Now()
	for i, p := range []struct{ name, country, city, vcpu string }{{"Nord", "DE", "BER", "0.09"}, {"Sud", "IT", "MIL", "0.05"}} {
		n := newNamespace(t, p.country)
		m.net.wire(n, i+1)
		n.dialOutOnly()
		machines[p.country] = n
		m.provide(n, p.name, p.country, p.city, p.vcpu)
	}
	own := m.member("Anna")
	anna := m.client(own)
	m.until("both are listed and measured", func() bool {
		var page struct {
			Offers []struct {
				Provider string
				Measured *struct{ Servers int }
			}
		}
		m.post(own, "/v1/offers", `{"basicConfiguration": "cpu-2-ram-4gb-storage-25gb"}`, &page)
		return len(page.Offers) == 2 && page.Offers[0].Provider == "Sud" && page.Offers[0].Measured != nil && page.Offers[1].Measured != nil
	})
	for _, wish := range []struct{ name, asks, gets string }{{"anywhere", "", "IT"}, {"germany", "DE", "DE"}} {
		d := client.Deployment{Instances: 1, VM: client.VMConfiguration{
			Name: wish.name, OSImage: "https://" + control + "/images/" + demoImage, SSHKeys: []string{m.key.line},
		}}
		if wish.asks != "" {
			d.Constraints.Datacenter.Countries = []string{wish.asks}
		}
		made, err := anna.Deploy(t.Context(), d)
		if err != nil {
			t.Fatalf("deploy %s: %v", wish.name, err)
		}
		v, err := anna.WaitVM(t.Context(), made[0].ID, client.StatusActive)
		for ; err == nil && v.Status != client.StatusActive && !client.Ended(v.Status) && time.Since(began) < joinWithin; v, err = anna.WaitVM(t.Context(), made[0].ID, client.StatusActive) {
		}
		if err != nil || v.Status != client.StatusActive || v.Datacenter.CountryCode != wish.gets {
			t.Fatalf("VM %s is %s in %s, want it active in %s: %v %v", wish.name, v.Status, v.Datacenter.CountryCode, wish.gets, err, v.Timeline)
		}
		if got := m.ask(machines[wish.gets], v.Address(), "hostname"); got != wish.name {
			t.Errorf("the host name in VM %s is %q", wish.name, got)
		}
	}
	took := time.Since(began).Round(time.Second)
	t.Logf("two bare machines joined, were measured and ran a VM each within %s", took)
	if took > joinWithin {
		t.Errorf("it took %s, want at most %s", took, joinWithin)
	}
}

// post sends a request and decodes its answer.
func (m *marketplace) post(key, path, body string, into any) {
	m.Helper()
	r, err := http.NewRequestWithContext(m.Context(), http.MethodPost, "https://"+control+path, strings.NewReader(body))
	if err != nil {
		m.Fatal(err)
	}
	r.Header.Set("X-API-KEY", key)
	answer, err := m.http.Do(r)
	if err != nil {
		m.Fatalf("post %s: %v", path, err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		m.Fatalf("post %s: %d %s %v", path, answer.StatusCode, text, err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		m.Fatalf("decode %s: %v", text, err)
	}
}

// ask logs in to a VM from its server's machine and runs a command.
func (m *marketplace) ask(n namespace, address, command string) string {
	m.Helper()
	var said []byte
	m.until("SSH at "+address, func() bool {
		c, err := m.login(n, address)
		if err != nil {
			return false
		}
		defer c.Close() //nolint:errcheck // its end is all that counts
		session, err := c.NewSession()
		if err != nil {
			return false
		}
		said, err = session.Output(command)
		return err == nil
	})
	return strings.TrimSpace(string(said))
}

// login opens an SSH connection to a VM from a namespace.
func (m *marketplace) login(n namespace, address string) (*ssh.Client, error) {
	conn, err := n.dial(m.Context(), "tcp", net.JoinHostPort(address, "22"))
	if err != nil {
		return nil, err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(m.key.signer)}, HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), //nolint:gosec // the guest is new to everyone
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return ssh.NewClient(c, channels, requests), nil
}
