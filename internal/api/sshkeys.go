package api

import (
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
)

const exampleKey = `{"name": "laptop", "fingerprint": "SHA256:CSBNzi4dgeWjBe88DAxR/KNTIKym/6NrJkLytIKsFDE", "algorithm": "ssh-ed25519",
	"comment": "me@laptop", "publicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBwVyhJAwCHMVJxhLPUZOuyFZQKNdgGWqI2ahVZO9wQ2 me@laptop",
	"public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBwVyhJAwCHMVJxhLPUZOuyFZQKNdgGWqI2ahVZO9wQ2 me@laptop",
	"active": true, "createdAt": "2026-01-31T12:00:00Z"}`

var listSSHKeys = operation{
	method: http.MethodGet, path: "/ssh_keys", id: "listSSHKeys", tag: "SSH keys",
	summary:  "List SSH keys",
	response: `[` + exampleKey + `]`,
}

// sshKey is a registered key. The public key goes by two names, as clients read
// either.
type sshKey struct {
	Name        *string   `json:"name" nullable:"true"`
	Fingerprint string    `json:"fingerprint" example:"SHA256:CSBNzi4dgeWjBe88DAxR/KNTIKym/6NrJkLytIKsFDE"`
	Algorithm   string    `json:"algorithm" example:"ssh-ed25519"`
	Comment     string    `json:"comment"`
	PublicKey   string    `json:"publicKey"`
	SnakeKey    string    `json:"public_key" doc:"The same as publicKey."`
	Active      bool      `json:"active"`
	CreatedAt   time.Time `json:"createdAt"`
}

func sshKeyOf(k account.SSHKey) sshKey {
	out := sshKey{
		Fingerprint: k.Fingerprint, Algorithm: k.Algorithm, Comment: k.Comment,
		PublicKey: k.PublicKey, SnakeKey: k.PublicKey, Active: true, CreatedAt: k.CreatedAt.UTC(),
	}
	if k.Name != "" {
		out.Name = &k.Name
	}
	return out
}

func (a *api) listSSHKeys(c *call, _ none) ([]sshKey, error) {
	keys, err := a.control.SSHKeys(c.Context(), c.who)
	out := make([]sshKey, len(keys))
	for i, k := range keys {
		out[i] = sshKeyOf(k)
	}
	return out, err
}

var addSSHKey = operation{
	method: http.MethodPost, path: "/ssh_keys", id: "addSSHKey", tag: "SSH keys", status: http.StatusCreated,
	summary:  "Register an SSH key",
	text:     "RSA, ECDSA or Ed25519. A key that is registered already is returned as it is, with status 200.",
	request:  `{"name": "laptop", "publicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBwVyhJAwCHMVJxhLPUZOuyFZQKNdgGWqI2ahVZO9wQ2 me@laptop"}`,
	response: exampleKey,
	refusals: map[int]string{
		http.StatusBadRequest:          "publicKey has to be a string, not array",
		http.StatusUnprocessableEntity: "this is no SSH public key of type RSA, ECDSA or Ed25519",
	},
}

type sshKeyRequest struct {
	Name      string `json:"name,omitempty" maxLength:"100" example:"laptop"`
	PublicKey string `json:"publicKey" doc:"One line, as in an authorized_keys file."`
}

func (a *api) addSSHKey(c *call, in sshKeyRequest) (sshKey, error) {
	key, added, err := a.control.AddSSHKey(c.Context(), c.who, in.Name, in.PublicKey)
	if !added {
		c.status = http.StatusOK
	}
	return sshKeyOf(key), err
}

var deleteSSHKey = operation{
	method: http.MethodDelete, path: "/ssh_keys", id: "deleteSSHKey", tag: "SSH keys",
	summary:  "Delete an SSH key",
	text:     "VMs that were deployed with the key keep it.",
	request:  `{"fingerprint": "SHA256:CSBNzi4dgeWjBe88DAxR/KNTIKym/6NrJkLytIKsFDE"}`,
	response: `{}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "fingerprint has to be a string, not array",
		http.StatusNotFound:            "no SSH key with this fingerprint",
		http.StatusUnprocessableEntity: "fingerprint is missing",
	},
}

type fingerprintRequest struct {
	Fingerprint string `json:"fingerprint"`
}

func (a *api) deleteSSHKey(c *call, in fingerprintRequest) (none, error) {
	return none{}, a.control.DeleteSSHKey(c.Context(), c.who, in.Fingerprint)
}
