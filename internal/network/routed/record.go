package routed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/network"
)

// What is in the driver's folder.
const (
	linksDir    = "links"         // a file for each link
	lockFile    = "lock"          // held while something changes
	settingFile = "settings.json" // what the uplink's settings were before there was a link
	suffix      = ".json"
)

// lock waits until no other driver works over dir.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func (c Config) recordPath(id string) string { return filepath.Join(c.Dir, linksDir, id+suffix) }

// readRecords returns what links have to be, by id: each is written before anything
// of it is made, and removed when nothing of it is left. A file that can't be read
// as one is told in the log and left alone: its link is not listed, and made again
// when it is asked for.
func (c Config) readRecords() (map[string]network.Link, error) {
	entries, err := os.ReadDir(filepath.Join(c.Dir, linksDir))
	if err != nil {
		return nil, err
	}
	records := make(map[string]network.Link, len(entries))
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue
		}
		var r network.Link
		if err := readJSON(c.recordPath(id), &r); err != nil || r.ID != id || r.Check() != nil {
			c.Log.Warn("record of a link can't be read", "vm_id", id, "error", err)
			continue
		}
		records[id] = r
	}
	return records, nil
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// writeJSON replaces a file as a whole: a crash leaves the old one or the new one.
func writeJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	temp := path + ".part"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(temp)))
	}
	return nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
