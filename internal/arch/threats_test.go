package arch_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testNames = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z]\w*)\(`)
	named     = regexp.MustCompile("`(?:[a-z]+\\.)?((?:Test|Fuzz)[A-Z]\\w*)`")
	sources   = regexp.MustCompile("`([\\w/.-]+\\.go)`")
)

// What the threat model says defends, and what proves it, is there.
func TestThreatModel(t *testing.T) {
	t.Parallel()
	tests, files := map[string]bool{}, map[string]bool{}
	root := os.DirFS(filepath.Join("..", ".."))
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		for at := path; at != ""; _, at, _ = strings.Cut(at, "/") {
			files[at] = true // a table may leave out what all its paths begin with
		}
		if strings.HasSuffix(path, "_test.go") {
			text, err := fs.ReadFile(root, path)
			for _, m := range testNames.FindAllSubmatch(text, -1) {
				tests[string(m[1])] = true
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tables, err := fs.Glob(root, "docs/threat-model-*.md")
	if err != nil || len(tables) == 0 {
		t.Fatalf("%d tables of threats, %v", len(tables), err)
	}
	for _, table := range append(tables, "docs/threat-model.md") {
		text, err := fs.ReadFile(root, table)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllSubmatch(text, -1) {
			if !tests[string(m[1])] {
				t.Errorf("%s names the test %s, which is not there", table, m[1])
			}
		}
		for _, m := range sources.FindAllSubmatch(text, -1) {
			if !files[string(m[1])] {
				t.Errorf("%s names the file %s, which is not there", table, m[1])
			}
		}
	}
}
