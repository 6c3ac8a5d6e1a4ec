package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

// A ledger is read as it was written, over many parts, whatever its texts hold: also
// the marks that stand between entries while they are read.
func TestBooksOfAnyText(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		const entries = 1_300 // two parts and a half
		s := e.Open(t)
		texts := map[int]string{3: "a\x1fb", 4: "\x1e", 600: "\x1f\x1e1\x1f", 601: "", 1_299: "ends with \x1e"}
		err := s.Write(t.Context(), func(tx *store.Tx) error {
			list := make([]ledger.Entry, entries)
			for i := range list {
				list[i] = ledger.Credit(time.Unix(1, 0), fmt.Sprint("acc_", i%7), 1, "credit", fmt.Sprint(i))
				if text, ok := texts[i]; ok {
					list[i].Reason = text
				}
			}
			return tx.PostAll(t.Context(), list)
		})
		if err != nil {
			t.Fatal(err)
		}
		if found := findings(t, s); len(found) > 0 {
			t.Errorf("findings: %v", found)
		}
		if err := s.Read(t.Context(), func(tx *store.Tx) error {
			books, err := tx.Books(t.Context())
			if err == nil && books.Entries != entries {
				t.Errorf("%d entries were read, want %d", books.Entries, entries)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}
