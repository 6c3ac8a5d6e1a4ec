// Package service has systemd run the agent of this machine: from its start on,
// and again whenever it ends.
package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Name is what the unit is called.
const Name = "cpucloud-agent"

// Manager is systemd on a machine.
type Manager struct {
	Root string                                                       // of the file system; "" is /
	User int                                                          // the effective user id
	Run  func(ctx context.Context, name string, args ...string) error // runs a program to its end
}

// Usable reports whether systemd runs here and this user may add units to it,
// and why not.
func (m Manager) Usable() (reason string, ok bool) {
	if _, err := os.Stat(m.path("run/systemd/system")); err != nil {
		return "systemd does not run here", false
	}
	if m.User != 0 {
		return "only root may add a service", false
	}
	return "", true
}

// Install makes command, the full path of a program and its arguments, what the
// unit runs over the data folder dir, now and from the machine's next start on. A unit that is there is
// replaced, and started again if it differs; machines that the old one has
// started live on. Returns the unit's path.
func (m Manager) Install(ctx context.Context, command []string, dir string) (path string, err error) {
	path = m.path("etc/systemd/system/" + Name + ".service")
	text := Unit(command, dir)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return path, fmt.Errorf("read unit: %w", err)
	}
	if err := replace(path, text); err != nil {
		return path, err
	}
	steps := [][]string{{"daemon-reload"}, {"enable", "--now", Name + ".service"}}
	if len(old) > 0 && string(old) != text {
		steps = append(steps, []string{"restart", Name + ".service"})
	}
	for _, args := range steps {
		if err := m.Run(ctx, "systemctl", args...); err != nil {
			return path, fmt.Errorf("systemctl %s: %w", strings.Join(args, " "), err)
		}
	}
	return path, nil
}

func (m Manager) path(name string) string {
	if m.Root == "" {
		return "/" + name
	}
	return filepath.Join(m.Root, name)
}

// replace writes a file that everybody may read, or leaves the old one whole.
func replace(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // units are no secret
		return fmt.Errorf("write unit: %w", err)
	}
	unfinished := path + ".new"
	if err := os.WriteFile(unfinished, []byte(text), 0o644); err != nil { //nolint:gosec // units are no secret
		return fmt.Errorf("write unit: %w", err)
	}
	if err := os.Chmod(unfinished, 0o644); err != nil { //nolint:gosec // whatever the umask
		return fmt.Errorf("write unit: %w", err)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return fmt.Errorf("write unit: %w", err)
	}
	return nil
}
