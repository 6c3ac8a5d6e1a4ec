package store_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

// What was written is there after a close, and two processes may have one
// database open.
func TestOpenAgain(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		url := e.URL(t)
		insert(t, open(t, url), "acc_1")
		second, third := open(t, url), open(t, url)
		insert(t, second, "acc_2")
		insert(t, third, "acc_3")
		for _, s := range []*store.Store{second, third} {
			if got := count(t, s); got != 3 {
				t.Errorf("got %d accounts, want 3", got)
			}
		}
	})
}

// Names that mean something in a URL are names of files all the same.
func TestOpenOddNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain", "with space", "100%", "a?b=c", "a#b", "a:b", "ü.db", "%20"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), name)
			insert(t, open(t, path), "acc_1")
			if _, err := os.Stat(path); err != nil {
				t.Errorf("the database is elsewhere: %v", err)
			}
		})
	}
}

func TestOpenRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	insert(t, open(t, "cloud.db"), "acc_1")
	if _, err := os.Stat("cloud.db"); err != nil {
		t.Errorf("the database is elsewhere: %v", err)
	}
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("this is no database, however long it may be, and never was one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{filepath.Join(dir, "no", "such", "folder"), dir, text, "postgres://127.0.0.1:1/none?connect_timeout=1"} {
		if s, err := store.Open(t.Context(), url); err == nil {
			t.Errorf("Open(%q) succeeded", url)
			_ = s.Close()
		}
	}
}

func open(t *testing.T, url string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatalf("Open(%q): %v", url, err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func insert(t *testing.T, s *store.Store, id string) {
	t.Helper()
	if err := s.Write(t.Context(), func(tx *store.Tx) error {
		return tx.InsertAccount(t.Context(), account.Account{ID: id, CreatedAt: time.Unix(1, 0)})
	}); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, s *store.Store) (n int) {
	t.Helper()
	if err := s.Read(t.Context(), func(tx *store.Tx) error {
		list, err := tx.Accounts(t.Context())
		n = len(list)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}
