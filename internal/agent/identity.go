package agent

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/wire"
)

// identity is wire.Identity as it is kept. Server and Control are empty from
// the making of the key until the control plane has answered.
type identity struct {
	Seed    []byte `json:"seed"`
	Server  string `json:"server,omitempty"`
	Control []byte `json:"control,omitempty"`
}

// Enrollment is what a server needs to join a control plane.
type Enrollment struct {
	Dir       string
	URL       string
	HTTP      *http.Client // nil means one with defaults
	Token     string
	Inventory capacity.Inventory
	Rand      io.Reader
}

// Enroll joins a control plane unless the folder has joined before, and returns
// the server's id. The key is kept before it is sent, so that a second try
// after a lost answer comes with the same one. Returns the control plane's
// faults, Denied for a token that is not good, and a Conflict fault when an
// agent runs in the folder.
func Enroll(ctx context.Context, e Enrollment) (server string, err error) {
	f, err := openFolder(e.Dir)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // nothing is written through it
	var kept identity
	if _, err := f.read(identityFile, &kept); err != nil {
		return "", err
	}
	if kept.Server != "" {
		return kept.Server, nil
	}
	if len(kept.Seed) != ed25519.SeedSize {
		kept.Seed = make([]byte, ed25519.SeedSize)
		if _, err := io.ReadFull(e.Rand, kept.Seed); err != nil {
			return "", fmt.Errorf("make agent key: %w", err)
		}
		if err := f.write(identityFile, kept, true); err != nil {
			return "", err
		}
	}
	id, err := wire.Enroll(ctx, e.URL, e.HTTP, e.Token, ed25519.NewKeyFromSeed(kept.Seed), e.Inventory)
	if err != nil {
		return "", fmt.Errorf("join control plane: %w", err)
	}
	kept.Server, kept.Control = id.Server, id.Control
	return id.Server, f.write(identityFile, kept, true)
}

// identity returns who the agent is. Returns an Invalid fault before Enroll.
func (f *folder) identity() (wire.Identity, error) {
	var kept identity
	if _, err := f.read(identityFile, &kept); err != nil {
		return wire.Identity{}, err
	}
	if kept.Server == "" || len(kept.Seed) != ed25519.SeedSize {
		return wire.Identity{}, fault.New(fault.Invalid, "this server has not joined a control plane yet: give a join token")
	}
	return wire.Identity{Server: kept.Server, Key: ed25519.NewKeyFromSeed(kept.Seed), Control: kept.Control}, nil
}

// Enrolled reports whether the folder has joined a control plane.
func Enrolled(dir string) (bool, error) {
	f, err := openFolder(dir)
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // nothing is written through it
	var kept identity
	_, err = f.read(identityFile, &kept)
	return kept.Server != "", err
}

// Joined returns the id of the server that a folder has joined as, "" if it has
// not. It does not take the folder, so that it can be asked beside an agent.
func Joined(dir string) (server string, err error) {
	text, err := os.ReadFile(filepath.Join(dir, agentDir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read identity: %w", err)
	}
	var kept identity
	if err := json.Unmarshal(text, &kept); err != nil {
		return "", fmt.Errorf("read identity: %w", err)
	}
	return kept.Server, nil
}
