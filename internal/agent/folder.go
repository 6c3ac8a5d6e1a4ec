package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// What is in an agent's folder, and in that of one VM below vms/.
const (
	agentDir     = "agent" // the folder itself
	lockFile     = "lock"
	identityFile = "identity.json"
	listFile     = "list.json"
	measuredFile = "measured.json"
	vmsDir       = "vms"

	recordFile = "record.json"
	seedFile   = "seed.iso"
	// currentFile holds the number of the disk that the machine was last started on.
	currentFile = "current.json"

	// These are one for each disk, see numbered.
	baseFile = "base.json"
	// userDataFile holds a customer's secret.
	userDataFile = "userdata.json"
	unfinished   = ".new"
)

// idPattern is what may become the name of a folder.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// snapshotPattern is what may become the name of a snapshot's file.
var snapshotPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// folder is where an agent keeps what it must know after a restart. Nothing
// outside of it can be reached through it, not even by a symbolic link.
type folder struct {
	path  string
	root  *os.Root
	lock  *os.File
	fault func(step string) error // what goes wrong before a step that changes the disk; nil for nothing
}

// step is called before each step that changes the disk.
func (f *folder) step(words ...string) error {
	if f.fault == nil {
		return nil
	}
	return f.fault(strings.Join(words, " "))
}

// openFolder takes the agent's folder below dir. Returns a Conflict fault that
// names the process when another agent has it.
func openFolder(dir string) (*folder, error) {
	path, err := filepath.Abs(filepath.Join(dir, agentDir))
	if err != nil {
		return nil, fmt.Errorf("find agent folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(path, vmsDir), 0o700); err != nil {
		return nil, fmt.Errorf("make agent folder: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open agent folder: %w", err)
	}
	lock, err := root.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open agent lock: %w", err), root.Close())
	}
	f := &folder{path: path, root: root, lock: lock}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fault.Newf(fault.Conflict, "another agent, process %s, uses %s: stop it first, or choose another folder with --data", f.holder(), path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	f.sign()
	return f, nil
}

// sign notes in the lock who holds it. It is for people, and must not keep an
// agent from its VMs when the disk is full.
func (f *folder) sign() {
	if f.lock.Truncate(0) == nil {
		_, _ = f.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
}

// holder returns the number of the process that holds the lock, "?" if it isn't said.
func (f *folder) holder() string {
	text, err := io.ReadAll(io.LimitReader(f.lock, 20))
	if pid, parseErr := strconv.Atoi(string(text)); err == nil && parseErr == nil {
		return strconv.Itoa(pid)
	}
	return "?"
}

// Close gives the folder to the next agent. The lock is let go in so many words:
// a process that is just being started has a copy of the open file, which would
// keep it for a moment longer.
func (f *folder) Close() error {
	return errors.Join(syscall.Flock(int(f.lock.Fd()), syscall.LOCK_UN), f.lock.Close(), f.root.Close())
}

// vmPath returns the path of a VM's file for those who need one.
func (f *folder) vmPath(id, file string) string { return filepath.Join(f.path, vmsDir, id, file) }

// vmIDs returns the ids of the VMs that have a folder.
func (f *folder) vmIDs() ([]string, error) {
	entries, err := fs.ReadDir(f.root.FS(), vmsDir)
	if err != nil {
		return nil, fmt.Errorf("list VM folders: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && idPattern.MatchString(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

func (f *folder) makeVM(id string) error {
	if err := f.step("make", id); err != nil {
		return fmt.Errorf("make VM folder: %w", err)
	}
	if err := f.root.Mkdir(filepath.Join(vmsDir, id), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make VM folder: %w", err)
	}
	return nil
}

func (f *folder) removeVM(id string) error {
	if err := f.step("remove", id); err != nil {
		return fmt.Errorf("remove VM folder: %w", err)
	}
	if err := f.root.RemoveAll(filepath.Join(vmsDir, id)); err != nil {
		return fmt.Errorf("remove VM folder: %w", err)
	}
	return nil
}

// remove removes the file name; one that isn't there is no error.
func (f *folder) remove(name string) error {
	if err := f.step("remove", name); err != nil {
		return err
	}
	if err := f.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f *folder) exists(name string) (bool, error) {
	_, err := f.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// read fills v from the JSON file name; ok is false when there is none.
func (f *folder) read(name string, v any) (ok bool, err error) {
	text, err := f.root.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	return true, nil
}

// write replaces the file name by v as JSON: a reader finds the old or the new
// one, whole. Durable files are on the disk when it returns; the others can be
// derived again after a loss of power.
func (f *folder) write(name string, v any, durable bool) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := f.fill(name+unfinished, text, durable); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	err = f.step("rename", name)
	if err == nil {
		err = f.root.Rename(name+unfinished, name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if durable {
		return f.syncFolder(filepath.Dir(name))
	}
	return nil
}

// fill makes the file name anew, with text.
func (f *folder) fill(name string, text []byte, durable bool) error {
	if err := f.step("open", name); err != nil {
		return err
	}
	file, err := f.root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err = f.step("write", name); err == nil {
		_, err = file.Write(text)
	}
	if err == nil && durable {
		if err = f.step("sync", name); err == nil {
			err = file.Sync()
		}
	}
	return errors.Join(err, file.Close())
}

// syncFolder makes a rename last.
func (f *folder) syncFolder(name string) error {
	if err := f.step("sync", name); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	dir, err := f.root.Open(name)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
