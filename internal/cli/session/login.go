package session

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// The variables that say which cloud, and as whom.
const (
	urlVariable   = "CPUCLOUD_URL"
	keyVariable   = "CPUCLOUD_API_KEY"
	adminVariable = "CPUCLOUD_ADMIN_KEY"
)

// DefaultData returns the folder of the local cloud: $CPUCLOUD_DATA,
// $XDG_STATE_HOME/cpucloud or ~/.local/state/cpucloud; "" without any of these
// variables and without $HOME.
func DefaultData(env func(string) string) string {
	if dir := env("CPUCLOUD_DATA"); dir != "" {
		return dir
	}
	if dir := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cpucloud")
	}
	if home := env("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "cpucloud")
	}
	return ""
}

// DataDir returns the folder given by --data, else the default one.
func (s *Session) DataDir() string {
	if s.Data != "" {
		return s.Data
	}
	return DefaultData(s.Env)
}

// Cloud returns a client for a customer's commands.
func (s *Session) Cloud() (*client.Client, error) { return s.login(keyVariable, "demo.env") }

// Admin returns a client for an operator's commands.
func (s *Session) Admin() (*client.Client, error) { return s.login(adminVariable, "admin.env") }

// login takes --data's file before the environment, and the default folder's
// file when the environment holds no key. A key out of a file only ever goes
// to the address in the same file.
func (s *Session) login(variable, file string) (*client.Client, error) {
	url, key := s.Env(urlVariable), s.Env(variable)
	path := filepath.Join(s.DataDir(), file)
	fromFile := s.Data != "" || key == "" && s.DataDir() != ""
	if fromFile {
		vars, err := readEnv(path)
		switch {
		case err == nil:
		case s.Data != "":
			return nil, fault.Newf(fault.Invalid, "--data %s: %s", s.Data, reason(err))
		default:
			return nil, noKey(variable, path)
		}
		if s.Data == "" && url != "" && url != vars[urlVariable] {
			return nil, noKey(variable, path) // the file is about another cloud
		}
		url, key = vars[urlVariable], vars[variable]
	}
	if key == "" {
		return nil, noKey(variable, path)
	}
	if s.URL != "" {
		if fromFile && strings.TrimRight(s.URL, "/") != strings.TrimRight(url, "/") {
			return nil, fault.Newf(fault.Denied, "the key in %s is for %s; set %s to the key for %s", path, url, variable, s.URL)
		}
		url = s.URL
	}
	if url == "" {
		return nil, fault.Newf(fault.Invalid, "which cloud? set %s, or give --url", urlVariable)
	}
	return client.New(url, key, client.WithUserAgent("cpucloud-cli")), nil
}

func noKey(variable, path string) error {
	return fault.Newf(fault.Denied, "no API key: %s is not set, and %s can't be used", variable, path)
}

func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Path + ": " + p.Err.Error()
	}
	return err.Error()
}

// maxEnv bounds what is read of a file that should hold a few lines.
const maxEnv = 64 << 10

// readEnv reads lines such as export NAME='value'.
func readEnv(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(f, maxEnv))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	vars := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, found := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if !found || strings.HasPrefix(name, "#") {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '\'' || value[0] == '"') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		vars[strings.TrimSpace(name)] = value
	}
	return vars, nil
}
