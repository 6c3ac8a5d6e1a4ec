package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/guard"
)

// Base is an image in the cache: a raw disk that overlays lie on. Its file is
// never changed.
type Base struct {
	Path         string // absolute
	Format       string // always "raw": the only format that QEMU finds nothing to follow in
	VirtualBytes int64
	Digest       string // SHA-256 of what was fetched, decompressed, in hex
	Checksum     string // "sha256:…" of what was fetched, as it came; "" if that wasn't kept
}

// Cache keeps every image that was fetched, by its digest. One process at a
// time uses a folder; its files may be read by others who know their names.
type Cache struct {
	cfg      Config
	root     *os.Root
	lock     *os.File
	direct   *http.Client
	mirrors  []mirror
	privates *guard.Guard // allows the hosts whose images are never shared
	quota    quota
	fetches  sync.WaitGroup

	unconfined bool // children, in tests with programs of their own

	mu      sync.Mutex
	closed  bool
	index   index
	used    map[string]time.Time // digest → when Get last returned it
	opened  time.Time
	flights map[string]*flight // that may be joined, by the key of what they bring
	landing map[string]*flight // the newest for each key, until it has ended
	serial  int                // of temporary files
}

const (
	tempSuffix = ".part"
	lockName   = "lock"
)

// New opens the cache in c.Dir and removes what a crash left half-made. It
// returns a Conflict fault when another process uses the folder and an Invalid
// one for a mirror that can't be.
func New(c Config) (*Cache, error) {
	c = c.withDefaults()
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("find image folder: %w", err)
	}
	c.Dir = dir
	mirrors, err := newMirrors(c.Guard, c.Mirrors)
	if err != nil {
		return nil, err
	}
	// Hypervisors run as other users: they may open what they know the name
	// of, but can't list what else is there.
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make image folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open image folder: %w", err)
	}
	cache := &Cache{
		cfg: c, root: root, direct: c.Guard.Client(), mirrors: mirrors, opened: c.Now(),
		privates: guard.New(guard.Config{Allow: c.Private}),
		used:     make(map[string]time.Time), flights: make(map[string]*flight), landing: make(map[string]*flight),
	}
	cache.quota.most = c.Quota
	if err := cache.open(); err != nil {
		return nil, errors.Join(err, cache.release())
	}
	return cache, nil
}

// open locks the folder, cleans it and reads the index.
func (c *Cache) open() error {
	if err := c.root.Chmod(".", 0o711); err != nil {
		return fmt.Errorf("open image folder: %w", err)
	}
	var err error
	if c.lock, err = c.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("lock image folder: %w", err)
	}
	if err := syscall.Flock(int(c.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fault.Newf(fault.Conflict, "the image folder %s is in use by another process", c.cfg.Dir)
	}
	if err := c.sweep(); err != nil {
		return err
	}
	c.index, err = loadIndex(c.root)
	for _, e := range c.index {
		c.used[e.Digest] = latest(c.used[e.Digest], e.UsedAt)
	}
	if errors.Is(err, errIndex) {
		// The images stay: disks of VMs lie on them. They are found again by
		// their digests when they are fetched the next time.
		c.cfg.Log.Warn("image index is damaged; images are fetched anew when they are needed", "path", c.cfg.Dir)
		return nil
	}
	return err
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sweep removes temporary files, and downloads that are too old to be gone on
// with, and counts what the others take.
func (c *Cache) sweep() error {
	if err := c.sweepSpools(); err != nil {
		return err
	}
	c.quota.used.Store(0)
	files, err := fs.ReadDir(c.root.FS(), ".")
	if err != nil {
		return fmt.Errorf("list image folder: %w", err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), tempSuffix) {
			if err := c.root.Remove(f.Name()); err != nil {
				return fmt.Errorf("clean image folder: %w", err)
			}
			continue
		}
		c.quota.used.Add(c.taken(f.Name()))
	}
	return nil
}

// taken returns how many bytes of the disk a file takes.
func (c *Cache) taken(name string) int64 { return takenBy(c.root, name) }

// Close ends all fetches, waits for them and lets another process use the
// folder.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	for _, f := range c.landing {
		f.cancel(errStopping)
	}
	c.mu.Unlock()
	c.fetches.Wait()
	c.mu.Lock()
	err := c.index.save(c.root) // with when each was used
	c.mu.Unlock()
	return errors.Join(err, c.release())
}

// release lets the folder go, the lock in so many words: a process that is just
// being started has a copy of the open file, which would keep it for a moment
// longer.
func (c *Cache) release() error {
	err := c.root.Close()
	if c.lock != nil {
		err = errors.Join(err, syscall.Flock(int(c.lock.Fd()), syscall.LOCK_UN), c.lock.Close())
	}
	return err
}

// Get returns the image that r asks for. It fetches it unless that was ever done
// before for r's tenant, or for anybody if it is public; calls for the same
// image share one fetch, which ends early only if all of them are cancelled.
// What was fetched once is used as it was, unless a checksum says that it isn't
// what is wanted.
//
// Get returns an Invalid fault when no VM can be made of what is there, none with
// so small a disk, or when it isn't what the checksum says; after any other
// error, see Temporary, another attempt can succeed.
func (c *Cache) Get(ctx context.Context, r Request) (Base, error) {
	if err := CheckURL(r.URL); err != nil {
		return Base{}, err
	}
	if _, err := r.sum(); err != nil {
		return Base{}, err
	}
	b, ok := c.lookup(r)
	if !ok {
		var err error
		if b, err = c.share(ctx, r); err != nil {
			return Base{}, err
		}
	}
	return b, tooLarge(b.VirtualBytes, r.DiskBytes)
}

// lookup returns what r asks for if it is in the cache.
func (c *Cache) lookup(r Request) (Base, bool) {
	want, _ := r.sum()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range r.keys() {
		e, ok := c.index[key]
		if ok && (want == "" || e.Sum == want) && e.present(c.root) {
			e.UsedAt = c.cfg.Now()
			c.index[key], c.used[e.Digest] = e, e.UsedAt
			return c.base(e), true
		}
	}
	return Base{}, false
}

func (c *Cache) base(e entry) Base {
	b := Base{
		Path: filepath.Join(c.cfg.Dir, nameOf(e.Digest)), Format: string(rawFormat),
		VirtualBytes: e.VirtualBytes, Digest: e.Digest,
	}
	if e.Sum != "" {
		b.Checksum = checksumPrefix + e.Sum
	}
	return b
}

// touch notes that digest is wanted, before its file is.
func (c *Cache) touch(digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used[digest] = c.cfg.Now()
}

// remember puts e, whose file is in place, into the index.
func (c *Cache) remember(key string, e entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index[key] = e
	return c.index.save(c.root)
}

// temp makes a temporary file.
func (c *Cache) temp() (*file, error) {
	c.mu.Lock()
	c.serial++
	name := fmt.Sprintf("fetch-%d%s", c.serial, tempSuffix)
	c.mu.Unlock()
	return create(c.root, name, &c.quota)
}

// Temporary reports whether another attempt can succeed where err was the
// result: the network was down, the server busy, the disk full. What an
// Invalid fault complains of stays as it is.
func Temporary(err error) bool { return err != nil && !fault.Is(err, fault.Invalid) }
