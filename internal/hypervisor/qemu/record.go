package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// record is what is noted of a machine. It is written before the process is
// started, again when it is known, and when it has ended. None of it decides
// whether the machine lives; that is the lock.
type record struct {
	UID     uint32    `json:"uid"`  // whose process it is
	Boot    string    `json:"boot"` // of the host, when the machine was started
	Started time.Time `json:"started"`
	Process process   `json:"process"` // zero until it is known
	Reason  string    `json:"reason"`  // why it ended, if somebody was there to see
}

// reason says why machine id, which doesn't live, ended.
func (d *Driver) reason(id string, r record) string {
	boot, err := bootID()
	switch {
	case r.Reason != "":
		return r.Reason
	case r.Boot == "":
		return "it was never started"
	case err == nil && r.Boot != boot:
		return "the host was restarted"
	}
	return withWords("it ended while no agent ran", d.said(id))
}

// withWords adds what QEMU said last, if anything.
func withWords(reason, words string) string {
	if words == "" {
		return reason
	}
	return reason + ": " + words
}

func (d *Driver) read(id string) (record, error) {
	var r record
	text, err := d.root.ReadFile(filepath.Join(id, "machine.json"))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("machine.json: %w", err)
	}
	return r, nil
}

// write replaces the record of machine id, whose folder exists: a reader sees
// the old one or the new one, also after a power cut.
func (d *Driver) write(id string, r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeFile(d.root, filepath.Join(id, "machine.json"), text)
}

// enlist notes that machine id is about to be started, as a user that no other
// machine has.
func (d *Driver) enlist(id string) (record, error) {
	boot, err := bootID()
	if err != nil {
		return record{}, err
	}
	d.users.Lock()
	defer d.users.Unlock()
	uid, err := d.freeUser(id)
	if err != nil {
		return record{}, err
	}
	r := record{UID: uid, Boot: boot, Started: d.config.Now()}
	return r, d.write(id, r)
}

// freeUser returns the user of machine id: the lowest of the range that no
// other machine has and no process is, or the agent's own unless that is root.
func (d *Driver) freeUser(id string) (uint32, error) {
	if os.Getuid() != 0 {
		return uint32(os.Getuid()), nil
	}
	ids, err := d.ids()
	if err != nil {
		return 0, err
	}
	taken := map[uint32]bool{}
	for _, other := range ids {
		if other == id {
			continue
		}
		r, err := d.read(other)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			if alive, lockErr := d.alive(other); alive || lockErr != nil {
				return 0, fmt.Errorf("user of machine %s: %w", other, err)
			}
		}
		taken[r.UID] = true
	}
	users := d.config.Users
	for n := range users.Count - 1 { // the last is the probe's
		if uid := users.First + n; !taken[uid] && idle(uid) {
			return uid, nil
		}
	}
	return 0, fault.Newf(fault.Exhausted, "all %d user ids for machines are taken: give more with --vm-uids", users.Count-1)
}

// process returns the living process of machine id, also one that was started
// by an agent that didn't live to note it.
func (d *Driver) process(id string) (process, error) {
	r, err := d.read(id)
	if err == nil {
		if now, err := processOf(r.Process.PID); err == nil && now == r.Process {
			return now, nil
		}
	}
	lock, err := d.root.Stat(filepath.Join(id, "lock"))
	if err != nil {
		return process{}, err
	}
	return holder(lock)
}

// said returns the last words of machine id's QEMU.
func (d *Driver) said(id string) string {
	f, err := d.root.Open(filepath.Join(id, "qemu.log"))
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	const tail = 4 << 10
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-tail), io.SeekStart)
	}
	text, err := io.ReadAll(io.LimitReader(f, tail))
	if err != nil {
		return ""
	}
	return lastWords(text)
}

// bootID returns what tells this boot of the host from all others.
func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

// writeFile puts text in place of the file called name, all of it or nothing.
func writeFile(root *os.Root, name string, text []byte) error {
	f, err := root.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return root.Rename(name+".new", name)
}
