package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

const (
	spoolPrefix = "download-"
	spoolSuffix = ".partial"
	stateSuffix = ".partial.json"
)

// checkpoint is how much of a download is at risk: so many bytes may have to be
// fetched again after a crash.
const checkpoint = 64 << 20

// spool is the file of a download, as it came over the network. It outlives
// broken connections, and the process if the server can tell whether the rest
// is still of the same image.
type spool struct {
	*file
	state spoolState
}

// spoolState is what is needed to go on with a download.
type spoolState struct {
	URL       string    `json:"url"`       // redacted, for the operator
	Validator string    `json:"validator"` // of the version that is being fetched; "" if the server gave none to rely on
	Total     int64     `json:"total"`     // bytes, 0 if it isn't known
	Length    int64     `json:"length"`    // bytes that are on the disk for sure …
	Sum       string    `json:"sum"`       // … and their SHA-256 in hex
	Owner     string    `json:"owner"`     // who alone may go on with it, "" for anybody; see Request.Tenant
	SavedAt   time.Time `json:"saved_at"`
}

// openSpool returns the spool of key: that of an attempt before if owner may go
// on with it, else an empty one.
func (c *Cache) openSpool(key, owner string) (*spool, error) {
	name := spoolPrefix + key
	if s := c.resume(name, owner); s != nil {
		return s, nil
	}
	c.dropSpool(name)
	f, err := create(c.root, name+spoolSuffix, &c.quota)
	return &spool{file: f}, err
}

// resume returns a spool that was suspended, nil if there is none that can be
// gone on with.
func (c *Cache) resume(name, owner string) *spool {
	st, err := readSpoolState(c.root, name)
	if err != nil || !st.fresh(c.cfg) || st.Owner != "" && st.Owner != owner {
		return nil
	}
	taken := c.taken(name + spoolSuffix)
	f, err := c.root.OpenFile(name+spoolSuffix, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	s := &spool{file: adopt(f, c.root, name+spoolSuffix, &c.quota, taken), state: st}
	if s.verify() != nil {
		s.drop()
		return nil
	}
	return s
}

// fresh reports whether a download may be gone on with.
func (st spoolState) fresh(cfg Config) bool {
	age := cfg.Now().Sub(st.SavedAt)
	return st.Validator != "" && st.Length > 0 && age >= 0 && age < cfg.PartialAge
}

// verify reads what is there and compares it with what was written.
func (s *spool) verify() error {
	info, err := s.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() < s.state.Length {
		return errors.Join(err, errIndex)
	}
	n, err := io.Copy(s.hash, io.NewSectionReader(s.File, 0, s.state.Length))
	if err != nil || n != s.state.Length || s.digest() != s.state.Sum {
		return errors.Join(err, errIndex)
	}
	s.size = n
	return s.Truncate(n)
}

// resumable reports whether the server can tell if the rest is of the same image.
func (s *spool) resumable() bool { return s.state.Validator != "" && s.size > 0 }

// complete reports whether all is there that the server announced.
func (s *spool) complete() bool { return s.state.Total > 0 && s.size >= s.state.Total }

// restart forgets what was downloaded.
func (s *spool) restart() error {
	s.state = spoolState{URL: s.state.URL}
	s.quota.give(s.taken)
	s.taken, s.size = 0, 0
	s.hash.Reset()
	return s.Truncate(0)
}

// save makes what was downloaded durable, and then says so.
func (s *spool) save(now time.Time) error {
	s.state.Length, s.state.Sum, s.state.SavedAt = s.size, s.digest(), now
	text, err := json.Marshal(s.state)
	if err != nil {
		return fmt.Errorf("encode state of download: %w", err)
	}
	if err := errors.Join(s.Truncate(s.size), s.Sync()); err != nil {
		return writeError(err)
	}
	name := strings.TrimSuffix(s.name, spoolSuffix) + stateSuffix
	err = s.root.WriteFile(name+tempSuffix, text, 0o600)
	if err == nil {
		err = s.root.Rename(name+tempSuffix, name)
	}
	if err != nil {
		return writeError(err)
	}
	return nil
}

// end closes the spool after err ended its download: it stays for another
// attempt if that can go on with it.
func (s *spool) end(err error, now time.Time) {
	if s.resumable() && Temporary(err) && !errors.Is(err, errNoRoom) && !errors.Is(err, errDiskFull) && s.save(now) == nil {
		s.suspend()
		return
	}
	s.drop()
}

// drop removes the spool and its state.
func (s *spool) drop() {
	s.discard()
	_ = s.root.Remove(strings.TrimSuffix(s.name, spoolSuffix) + stateSuffix) // swept when the cache is opened
}

// dropSpool removes a spool that nobody has open.
func (c *Cache) dropSpool(name string) {
	taken := c.taken(name + spoolSuffix)
	if c.root.Remove(name+spoolSuffix) == nil {
		c.quota.give(taken)
	}
	_ = c.root.Remove(name + stateSuffix)
}

// sweepSpools removes what no download will go on with: all that is too old, and
// halves of pairs. Those that flights use now are left alone; mu is held.
func (c *Cache) sweepSpools() error {
	files, err := fs.ReadDir(c.root.FS(), ".")
	if err != nil {
		return fmt.Errorf("list image folder: %w", err)
	}
	for _, f := range files {
		name, isSpool := strings.CutPrefix(f.Name(), spoolPrefix)
		if !isSpool {
			continue
		}
		key := strings.TrimSuffix(strings.TrimSuffix(name, stateSuffix), spoolSuffix)
		if c.landing[key] != nil {
			continue
		}
		if st, err := readSpoolState(c.root, spoolPrefix+key); err != nil || !st.fresh(c.cfg) {
			c.dropSpool(spoolPrefix + key)
		}
	}
	return nil
}

// readSpoolState reads the state of a spool that is there.
func readSpoolState(root *os.Root, name string) (st spoolState, err error) {
	if _, err := root.Lstat(name + spoolSuffix); err != nil {
		return st, err
	}
	text, err := root.ReadFile(name + stateSuffix)
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(text, &st); err != nil || st.Length < 0 || st.Total < 0 {
		return st, fault.New(fault.Internal, "the state of a download is damaged")
	}
	return st, nil
}
