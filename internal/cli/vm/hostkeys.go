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
	name string // under which the host is in it
	sure bool   // it holds the keys that the cloud knows
}

// knownHostsOf returns the file of the host keys of a VM, or of the rescue system that it
// runs: those that the cloud tells, or, where it knows none, those that its user has
// accepted before. Each disk has a file of its own.
func knownHostsOf(ctx context.Context, w waiter, v client.VM) (knownHosts, error) {
	keys, err := hostKeys(ctx, w, v.ID)
	if err != nil {
		return knownHosts{}, err
	}
	dir, err := ownDir(w.session, "host-keys")
	if err != nil {
		return knownHosts{}, err
	}
	name := hostAlias(v)
	known := knownHosts{path: filepath.Join(dir, name), name: name, sure: len(keys) > 0}
	if !known.sure {
		return known, nil
	}
	var lines bytes.Buffer
	for _, k := range keys {
		fmt.Fprintf(&lines, "%s %s\n", name, k)
	}
	return known, replaceFile(known.path, lines.Bytes())
}

// hostAlias returns the name under which ssh knows a VM, which is another one for each
// disk, and for each rescue.
func hostAlias(v client.VM) string {
	name := strings.ToLower(v.ID)
	switch {
	case v.Rescue != nil:
		return fmt.Sprintf("%s-rescue-%d", name, v.Rescue.Since.Unix())
	case v.Disk != nil && v.Disk.Number != 0:
		return fmt.Sprintf("%s-%d", name, v.Disk.Number)
	}
	return name
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
		if len(toldKeys(v)) > 0 || now.Sub(begunAt(v)).Abs() > young || now.Sub(begun) > keysWithin {
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

// toldKeys are the host keys of what a VM runs.
func toldKeys(v client.VM) []client.HostKey {
	if v.Rescue != nil {
		return v.RescueHostKeys
	}
	return v.SSHHostKeys
}

// begunAt returns since when a VM runs what it runs, as far as is told.
func begunAt(v client.VM) time.Time {
	if v.Disk != nil && v.Disk.Since != nil && v.Disk.Since.After(v.StatusChangedAt) {
		return *v.Disk.Since
	}
	return v.StatusChangedAt
}

// parseHostKeys returns the host keys that the cloud tells of a VM. They become lines
// of a file, so that nothing else may be in them.
func parseHostKeys(v client.VM) ([]hostkey.Key, error) {
	var keys []hostkey.Key
	for _, told := range toldKeys(v) {
		key, err := hostkey.Parse(told.PublicKey)
		if err != nil {
			return nil, fault.New(fault.Internal, "the cloud gave a host key that is none")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// ownDir returns a folder in the data folder that is this user's alone, which exists.
func ownDir(s *session.Session, name string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(s.DataDir(), name))
	if err != nil || s.DataDir() == "" {
		return "", fault.Newf(fault.Invalid, "there is no folder for %s: set $HOME or $CPUCLOUD_DATA", name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make folder for %s: %w", name, err)
	}
	return dir, nil
}

// replaceFile makes text the content of a file, which ssh finds whole whenever it
// looks.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write keys: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
