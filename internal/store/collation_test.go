package store_test

import (
	"testing"

	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

// No column of text is compared otherwise than byte by byte: those of different
// ways can't be joined by an index.
func TestCollation(t *testing.T) {
	t.Parallel()
	for _, e := range storetest.Engines() {
		if e.Name == storetest.SQLite().Name {
			continue // it knows nothing else
		}
		s := e.Open(t)
		if others, err := s.OtherCollations(t.Context()); err != nil || len(others) > 0 {
			t.Errorf("columns %v need COLLATE \"C\": %v", others, err)
		}
	}
}
