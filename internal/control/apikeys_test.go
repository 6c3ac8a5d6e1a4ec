package control_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// A key that is revoked is refused at once where it was revoked, and on other
// replicas once what they remember is old.
func TestRevokedKey(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		other := c.Service
		c.restart()
		anna := c.account("Anna", 0)
		key, secret, err := c.CreateKey(t.Context(), anna, "ci", account.Customer, account.Limits{})
		c.must("CreateKey", err)
		good := func(s *control.Service) bool {
			_, err := s.Authenticate(t.Context(), secret)
			return err == nil
		}
		want(t, "good on both", []bool{good(c.Service), good(other)}, []bool{true, true})
		c.must("a dry run", c.RevokeKey(control.Rehearse(t.Context()), anna, key.ID))
		want(t, "good after a dry run", good(c.Service), true)
		c.must("RevokeKey", c.RevokeKey(t.Context(), anna, key.ID))
		want(t, "good where it was revoked", good(c.Service), false)
		c.clock.advance(5 * time.Second)
		want(t, "good elsewhere after 5 s", good(other), false)
	})
}

// Whoever was asking for a key while it was revoked is not remembered as good.
func TestRevokedWhileAsked(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna := c.account("Anna", 0)
		for range 20 {
			key, secret, err := c.CreateKey(t.Context(), anna, "ci", account.Customer, account.Limits{})
			c.must("CreateKey", err)
			var asking sync.WaitGroup
			for range 4 {
				asking.Go(func() { _, _ = c.Authenticate(t.Context(), secret) }) // it is good, or it is not any more
			}
			c.must("RevokeKey", c.RevokeKey(t.Context(), anna, key.ID))
			asking.Wait()
			_, err = c.Authenticate(t.Context(), secret)
			wantFault(t, "a revoked key", err, fault.Denied)
		}
	})
}

// An account has so many keys, and two who revoke each other's leave one.
func TestKeysAreManaged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna := c.account("Anna", 0)
		bert := c.key(anna, account.Limits{})
		errs := together(2, func(i int) error {
			return c.RevokeKey(t.Context(), []account.Actor{anna, bert}[i], []account.Actor{bert, anna}[i].KeyID)
		})
		want(t, "outcomes", tally(errs), map[fault.Kind]int{"": 1, fault.Conflict: 1})
		if errs[0] != nil {
			anna = bert
		}
		for i := range 99 {
			_, _, err := c.CreateKey(t.Context(), anna, fmt.Sprint("key ", i), account.Customer, account.Limits{})
			c.must("CreateKey", err)
		}
		_, _, err := c.CreateKey(t.Context(), anna, "one too many", account.Customer, account.Limits{})
		wantFault(t, "one too many", err, fault.Exhausted)
	})
}
