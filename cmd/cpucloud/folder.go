package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// folder is the data folder of a cloud on this machine. One process holds it at
// a time.
type folder struct {
	path string
	lock *os.File
}

// openFolder makes the folder for this user alone and holds it. Returns a
// Conflict fault when another process does, with its id.
func openFolder(path string) (*folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find data folder: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fault.Newf(fault.Unavailable, "the data folder can't be made: %v; choose another with --data", err)
	}
	if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // a folder needs its x
		return nil, fault.Newf(fault.Unavailable, "the data folder can't be made private: %v", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fault.Newf(fault.Unavailable, "the data folder can't be used: %v", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		held := holder(lock)
		return nil, errors.Join(fault.Newf(fault.Conflict,
			"the data folder %s is in use by process %d; stop it first, or choose another with --data", path, held), lock.Close())
	}
	return &folder{path: path, lock: lock}, note(lock)
}

// note writes this process's id into the lock.
func note(lock *os.File) error {
	if err := lock.Truncate(0); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	_, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	return err
}

// holder returns the id of the process that holds the lock, 0 if it isn't said.
func holder(lock *os.File) int {
	text, err := io.ReadAll(io.LimitReader(lock, 20))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

// Close lets the folder go, at once even if a process that is just being started
// has a copy of the open file.
func (f *folder) Close() error {
	return errors.Join(syscall.Flock(int(f.lock.Fd()), syscall.LOCK_UN), f.lock.Close())
}

func (f *folder) file(name ...string) string {
	return filepath.Join(append([]string{f.path}, name...)...)
}

// envFile is a file of variables that a shell can source: KEY=value lines.
type envFile map[string]string

// readEnv returns the variables of a file; one that isn't there has none.
func readEnv(path string) (envFile, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return envFile{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read variables: %w", err)
	}
	env := envFile{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(key, "#") {
			env[key] = strings.Trim(value, `'"`)
		}
	}
	return env, nil
}

// writeEnv replaces a file of variables, readable for this user alone.
func writeEnv(path, comment string, keys []string, env envFile) error {
	var text strings.Builder
	fmt.Fprintf(&text, "# %s\n", comment)
	for _, key := range keys {
		fmt.Fprintf(&text, "export %s=%s\n", key, env[key])
	}
	if err := replaceFile(path, []byte(text.String())); err != nil {
		return fmt.Errorf("write variables: %w", err)
	}
	return nil
}

// replaceFile replaces a file as a whole, readable for this user alone.
func replaceFile(path string, text []byte) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
