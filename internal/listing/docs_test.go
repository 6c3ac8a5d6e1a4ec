package listing_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/listing"
)

// TestTheManualsFile: what docs/providers.md tells to write is a good file.
func TestTheManualsFile(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "providers.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(manual), "```yaml\n")
	text, _, found := strings.Cut(rest, "```")
	if l, faults := listing.Parse("docs/providers.md", []byte(text)); !found || len(faults) > 0 || len(l.Offers) != 1 {
		t.Errorf("%d offers, %v", len(l.Offers), faults)
	}
}
