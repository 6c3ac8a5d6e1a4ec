// Command gauges reports the shape of a Go tree: sizes of files and functions,
// depth of imports, lines of tests per line of source. It is a report, no gate.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const module = "github.com/cpucloud/cpucloud/"

// tree is what was read.
type tree struct {
	files, functions    []sized
	source, tests       int
	imports             map[string][]string // package → packages of ours
	inits, undocumented []string
}

type sized struct {
	name  string
	lines int
}

func main() {
	t := tree{imports: map[string][]string{}}
	err := filepath.WalkDir(os.Args[1], func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "build" || d.Name() == ".git" || d.Name() == "tools") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		rel, err := filepath.Rel(os.Args[1], path)
		if err != nil {
			return err
		}
		return t.read(path, rel)
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	t.report()
}

func (t *tree) read(path, rel string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.Count(string(text), "\n")
	if strings.HasSuffix(rel, "_test.go") || strings.Contains(rel, "test/") {
		t.tests += lines
		return nil
	}
	t.source += lines
	t.files = append(t.files, sized{rel, lines})
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, text, parser.ParseComments)
	if err != nil {
		return err
	}
	pkg := filepath.ToSlash(filepath.Dir(rel))
	for _, spec := range file.Imports {
		if name, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module); ours {
			t.imports[pkg] = append(t.imports[pkg], name)
		}
	}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := rel + " " + f.Name.Name
		t.functions = append(t.functions, sized{name, set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1})
		if f.Name.Name == "init" {
			t.inits = append(t.inits, rel)
		}
		if f.Doc == nil && f.Recv == nil && f.Name.IsExported() {
			t.undocumented = append(t.undocumented, name)
		}
	}
	return nil
}

func (t *tree) report() {
	gauge("file", t.files)
	gauge("function", t.functions)
	deepest := 0
	for pkg := range t.imports {
		deepest = max(deepest, t.depth(pkg))
	}
	fmt.Printf("import depth   %d\n", deepest)
	fmt.Printf("source lines   %d\ntest lines     %d (%.2f per source line)\n", t.source, t.tests, float64(t.tests)/float64(t.source))
	fmt.Printf("init functions %d %v\nundocumented   %d %v\n", len(t.inits), t.inits, len(t.undocumented), t.undocumented)
}

func (t *tree) depth(pkg string) int {
	deepest := 0
	for _, next := range t.imports[pkg] {
		deepest = max(deepest, t.depth(next))
	}
	return deepest + 1
}

func gauge(what string, list []sized) {
	slices.SortFunc(list, func(a, b sized) int { return a.lines - b.lines })
	at := func(q float64) int { return list[int(q*float64(len(list)-1))].lines }
	last := list[len(list)-1]
	fmt.Printf("%-9s lines: median %d, p95 %d, max %d (%s), %d of them\n", what, at(0.5), at(0.95), last.lines, last.name, len(list))
}
