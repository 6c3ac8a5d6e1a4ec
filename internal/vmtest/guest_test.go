//go:build vm || vmfull

package vmtest_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// key is an SSH key pair.
type key struct {
	signer ssh.Signer
	line   string // the public half as a customer gives it
	file   []byte // the private half as ssh reads it
}

func newKey(t *testing.T) key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file, err := ssh.MarshalPrivateKey(private, "anna")
	if err != nil {
		t.Fatal(err)
	}
	return key{signer, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " anna", pem.EncodeToMemory(file)}
}

// session is a connection to a guest.
type session struct {
	*cloud
	conn *ssh.Client
}

// login opens an SSH connection to the guest at an address.
func (c *cloud) login(user, address string) *session {
	c.Helper()
	var conn *ssh.Client
	var err error
	defer func() {
		if conn == nil {
			c.Logf("SSH at %s: %v", address, err)
		}
	}()
	c.until("SSH at "+address, func() bool {
		conn, err = ssh.Dial("tcp", address+":22", c.clientConfig(user))
		return err == nil
	})
	c.Cleanup(func() { _ = conn.Close() })
	return &session{c, conn}
}

// clientConfig is how the customer logs in with her key.
func (c *cloud) clientConfig(user string) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(c.key.signer)}, Timeout: 20 * time.Second,
		// Dropbear offers RSA without having such a key, and hangs up on who takes it.
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback:   ssh.InsecureIgnoreHostKey(), //nolint:gosec // the guest is new to everyone
	}
}

// run runs a command in the guest and returns what it says.
func (s *session) run(command string) string {
	s.Helper()
	said, err := s.try(command)
	if err != nil {
		s.Fatalf("%s: %v", command, err)
	}
	return said
}

func (s *session) try(command string) (string, error) {
	run, err := s.conn.NewSession()
	if err != nil {
		return "", err
	}
	defer run.Close() //nolint:errcheck // its end is all that counts
	said, err := run.CombinedOutput(command)
	return strings.TrimSpace(string(said)), err
}

// refused reports whether a TCP port is closed, as opposed to silent.
func (c *cloud) refused(address string) bool {
	ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
