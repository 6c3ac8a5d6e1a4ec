package control

import (
	"maps"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
)

const (
	keyFor  = 5 * time.Second // how long a key is taken as good without a look into the store
	keyMost = 10_000
)

// keyring remembers whose keys were good a moment ago, by their hash. A key
// that is revoked here is refused at once, one that is revoked on another replica
// after keyFor at the latest.
type keyring struct {
	mu    sync.RWMutex
	good  map[string]goodKey
	drops int // how often keys were dropped
}

type goodKey struct {
	who   account.Actor
	until time.Time
}

// get returns whose a key is, and what to put it with if it isn't known.
func (k *keyring) get(hash string, now time.Time) (who account.Actor, ok bool, drops int) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	key, ok := k.good[hash]
	return key.who, ok && now.Before(key.until), k.drops
}

// put remembers a key that was read after get, unless one was dropped since: it
// may be this one.
func (k *keyring) put(hash string, who account.Actor, now time.Time, drops int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if drops != k.drops {
		return
	}
	if k.good == nil || len(k.good) >= keyMost {
		k.good = map[string]goodKey{}
	}
	k.good[hash] = goodKey{who, now.Add(keyFor)}
}

// drop forgets a key.
func (k *keyring) drop(keyID string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drops++
	maps.DeleteFunc(k.good, func(_ string, key goodKey) bool { return key.who.KeyID == keyID })
}
