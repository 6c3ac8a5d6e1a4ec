// Package account knows who may do what: accounts, their API keys and SSH keys.
package account

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Account owns keys, VMs and a balance.
type Account struct {
	ID        string
	Name      string
	CreatedAt time.Time
}

// Key is an API key. The key itself is shown once and not kept: only its hash is.
type Key struct {
	ID        string
	AccountID string
	Name      string
	Hash      string // see HashKey
	Role      Role
	CreatedAt time.Time
	RevokedAt time.Time // zero while it is good
}

// Role says what a key may do.
type Role string

// The roles.
const (
	Customer Role = "customer" // everything within its own account
	Operator Role = "operator" // the marketplace itself, too
)

// Check returns an Invalid fault unless r is one of the roles.
func (r Role) Check() error {
	if r != Customer && r != Operator {
		return fault.Newf(fault.Invalid, "role %.40q is neither %s nor %s", r, Customer, Operator)
	}
	return nil
}

// Actor is who sends a request.
type Actor struct {
	AccountID string
	KeyID     string
	Role      Role
}

// String names the actor for those who look after it: account and key.
func (a Actor) String() string {
	if a.AccountID == "" { // the control plane itself
		return a.KeyID
	}
	return a.AccountID + "/" + a.KeyID
}

// RequireOperator returns a Denied fault unless the actor runs the marketplace.
func (a Actor) RequireOperator() error {
	if a.Role != Operator {
		return fault.New(fault.Denied, "this needs an operator's API key")
	}
	return nil
}

// HashKey returns what is kept of an API key. A key carries 160 random bits,
// so a plain SHA-256 can't be searched, and looking a hash up tells nothing
// about the key by its timing.
func HashKey(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// CheckName returns an Invalid fault unless an account's or key's name is
// short, printable text.
func CheckName(name string) error {
	if name == "" || len(name) > 100 || !printable(name) {
		return fault.New(fault.Invalid, "a name is 1 to 100 printable characters")
	}
	return nil
}
