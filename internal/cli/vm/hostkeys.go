package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hostkey"
)

const (
	young      = 2 * time.Minute  // a VM that became Active within may still print its host keys
	keysWithin = 20 * time.Second // is waited for that
	keysEvery  = time.Second
)

// knownHosts is a file of host keys that is one VM's alone.
type knownHosts struct {
	path string
	sure bool // it holds the keys that the cloud knows
}

// knownHostsOf returns the file of a VM's host keys: those that the cloud tells, or,
// where it knows none, those that its user has accepted before.
func knownHostsOf(ctx context.Context, w waiter, v client.VM) (knownHosts, error) {
	keys, err := hostKeys(ctx, w, v.ID)
	if err != nil {
		return knownHosts{}, err
	}
	dir, err := hostKeysDir(w.session)
	if err != nil {
		return knownHosts{}, err
	}
	name := strings.ToLower(v.ID)
	known := knownHosts{path: filepath.Join(dir, name), sure: len(keys) > 0}
	if !known.sure {
		return known, nil
	}
	var lines bytes.Buffer
	for _, k := range keys {
		fmt.Fprintf(&lines, "%s %s\n", name, k)
	}
	return known, replaceFile(known.path, lines.Bytes())
}

// hostKeys returns the host keys of a VM as the cloud knows them. A VM that has just
// become reachable gets a moment to print them.
func hostKeys(ctx context.Context, w waiter, id string) ([]hostkey.Key, error) {
	begun := w.session.Now()
	for told := false; ; told = true {
		v, err := w.cloud.VM(ctx, id)
		if err != nil {
			return nil, err
		}
		now := w.session.Now()
		if len(v.SSHHostKeys) > 0 || now.Sub(v.StatusChangedAt).Abs() > young || now.Sub(begun) > keysWithin {
			return parseHostKeys(v)
		}
		if !told {
			w.session.Notef("waiting at most %s for VM %s to print its host keys", keysWithin, v.Name)
		}
		timer := time.NewTimer(keysEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// parseHostKeys returns the host keys that the cloud tells of a VM. They become lines
// of a file, so that nothing else may be in them.
func parseHostKeys(v client.VM) ([]hostkey.Key, error) {
	var keys []hostkey.Key
	for _, told := range v.SSHHostKeys {
		key, err := hostkey.Parse(told.PublicKey)
		if err != nil {
			return nil, fault.New(fault.Internal, "the cloud gave a host key that is none")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// hostKeysDir returns the folder of the files of host keys, which exists.
func hostKeysDir(s *session.Session) (string, error) {
	dir, err := filepath.Abs(filepath.Join(s.DataDir(), "host-keys"))
	if err != nil || s.DataDir() == "" {
		return "", fault.New(fault.Invalid, "there is no folder for host keys: set $HOME or $CPUCLOUD_DATA")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make folder for host keys: %w", err)
	}
	return dir, nil
}

// replaceFile makes text the content of a file, which ssh finds whole whenever it
// looks.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write host keys: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write host keys: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
