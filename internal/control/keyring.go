package control

import (
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
)

const (
	keyFor  = 5 * time.Second // how long a key is taken as good without a look into the store
	keyMost = 10_000
)

// keyring remembers whose keys were good a moment ago, by their hash. A key
// that is revoked on another replica is refused here after keyFor at the latest.
type keyring struct {
	mu   sync.RWMutex
	good map[string]goodKey
}

type goodKey struct {
	who   account.Actor
	until time.Time
}

func (k *keyring) get(hash string, now time.Time) (account.Actor, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	key, ok := k.good[hash]
	return key.who, ok && now.Before(key.until)
}

func (k *keyring) put(hash string, who account.Actor, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.good == nil || len(k.good) >= keyMost {
		k.good = map[string]goodKey{}
	}
	k.good[hash] = goodKey{who, now.Add(keyFor)}
}
