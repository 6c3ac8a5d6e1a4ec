package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
)

// What is written comes into the file of the database while it is in use, long
// before a commit would have to do that.
func TestWriteBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cloud.db")
	s := open(t, path)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := size()
	for n := range 5 {
		if err := s.Write(t.Context(), func(tx *store.Tx) error {
			list := make([]ledger.Entry, 1_000)
			for i := range list {
				list[i] = ledger.Credit(time.Unix(1, 0), "acc", 1, "a gift", fmt.Sprint(n, ":", i))
			}
			return tx.PostAll(t.Context(), list)
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.Settle()
	if after := size(); after < before+500_000 {
		t.Errorf("the file has %d bytes, had %d: the entries are not in it", after, before)
	}
}
