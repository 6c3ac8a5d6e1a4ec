// Package wire is the agent protocol: its messages, the client that an agent
// speaks with and the handler that a control plane answers with, in one place
// so that they cannot drift apart.
//
// It is JSON over HTTPS, and the agent dials. An agent enrols once with a
// token and its public key, and learns the key of the control plane. From then
// on it tells all that it sees on its server and is answered with all that
// should be there. It signs every request; the control plane signs every
// answer together with the request it answers, so that neither can be forged,
// or sent again later, by anything in between.
package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// The routes. They are part of what is signed, so that a message for one is
// nothing to the other.
const (
	enrollPath = "/agent/v1/enroll"
	syncPath   = "/agent/v1/sync"
)

// The headers that carry who speaks and the signature of what is said.
const (
	serverHeader    = "Cpucloud-Server"
	signatureHeader = "Cpucloud-Signature"
)

// Bounds of the protocol.
const (
	MaxWait   = 25 * time.Second // that a poll is held; common proxies cut at 30 s and more
	MaxReport = 8 << 20          // bytes of a request: 1,000 VMs with 64 steps each
	MaxAnswer = 32 << 20         // bytes of an answer
	maxVMs    = 4096
	maxText   = 2048 // bytes of a step or a reason
	maxTries  = 1_000_000
)

// Identity is what an agent is known by and knows its control plane by.
type Identity struct {
	Server  string             // the id that the control plane gave
	Key     ed25519.PrivateKey // the agent's own
	Control ed25519.PublicKey  // the control plane's, pinned when the agent enrolled
}

// LogValue keeps the private key out of logs.
func (i Identity) LogValue() slog.Value { return slog.StringValue(i.Server) }

// String keeps the private key out of texts.
func (i Identity) String() string { return i.Server }

// enrollment asks to join. It is signed with the key that it names, which
// proves that the sender has the other half.
type enrollment struct {
	Token     string             `json:"token"`
	PublicKey ed25519.PublicKey  `json:"public_key"`
	Inventory capacity.Inventory `json:"inventory"`
}

// membership answers an enrollment.
type membership struct {
	Server     string            `json:"server"`
	ControlKey ed25519.PublicKey `json:"control_key"`
}

// polling is one report, and how long its sender would wait for news.
type polling struct {
	Report vm.Report  `json:"report"`
	Known  vm.Version `json:"known"`
	WaitMS int64      `json:"wait_ms"`
}

// orders answers a polling. Unchanged orders are left out.
type orders struct {
	vm.List
	Unchanged bool      `json:"unchanged"`
	Calls     []vm.Call `json:"calls,omitempty"` // consoles to connect
}

// problem is the body of every answer that is not a success.
type problem struct {
	Error string `json:"error"`
	Code  string `json:"code,omitempty"` // where the status alone does not say what to do
}

// codeCopied is the code of vm.ErrCopied.
const codeCopied = "copied_identity"

func problemOf(err error) problem {
	p := problem{Error: fault.Message(err)}
	if errors.Is(err, vm.ErrCopied) {
		p.Code = codeCopied
	}
	return p
}

// request returns the text that an agent signs. It holds the server's id, so
// that a signature is of no use under another name; the sequence in the body
// makes it unique.
func request(path, server string, body []byte) []byte {
	return fmt.Appendf(nil, "cpucloud agent request 1\n%s\n%s\n%s", path, server, sum(body))
}

// answer returns the text that the control plane signs: its answer, and by its
// signature the one request that this answers.
func answer(server, requestSignature string, status int, body []byte) []byte {
	return fmt.Appendf(nil, "cpucloud agent answer 1\n%s\n%s\n%d\n%s", server, requestSignature, status, sum(body))
}

func sum(body []byte) string {
	digest := sha256.Sum256(body)
	return hex.EncodeToString(digest[:])
}
