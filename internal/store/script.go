package store

import (
	"context"
	"fmt"
	"strings"
)

// How many lines one statement carries at most: of any number, and where it is
// compiled in a few sizes.
const (
	chunk         = 250
	compiledChunk = 64
)

// script is statements that go to the database one behind the other. How they go
// is what costs: PostgreSQL gets them in one piece, since a round trip takes as
// long as a small statement; SQLite, which has no way to go, gets each one as it
// was compiled before.
type script struct {
	sizes      bool // statements come in few sizes, to be compiled
	statements []statement
}

func (t *Tx) script() *script { return &script{sizes: t.compiled != nil} }

type statement struct {
	text string
	args []any
}

// add adds a statement.
func (s *script) add(text string, args ...any) {
	s.statements = append(s.statements, statement{text, args})
}

// lines adds statements over lines, each of the same number of values: list is
// what stands behind VALUES. Its columns are column1, column2, … on both engines.
func (s *script) lines(lines [][]any, text func(list string) string) {
	for len(lines) > 0 {
		n := s.size(len(lines))
		list, args := values(lines[:n])
		lines = lines[n:]
		s.add(text(list), args...)
	}
}

// size returns how many of n lines the next statement carries: a power of two
// where it is to be compiled, so that few texts are.
func (s *script) size(n int) int {
	if !s.sizes {
		return min(n, chunk)
	}
	size := compiledChunk
	for size > n {
		size /= 2
	}
	return size
}

// insert adds the insertion of lines; into is all before VALUES.
func (s *script) insert(into string, lines [][]any) {
	s.lines(lines, func(list string) string { return into + ` VALUES ` + list })
}

// run runs a script.
func (t *Tx) run(ctx context.Context, s *script) error {
	if t.compiled != nil {
		_, err := t.count(ctx, s)
		return err
	}
	var text strings.Builder
	var args []any
	for _, one := range s.statements {
		text.WriteString(one.text)
		text.WriteString(";\n")
		args = append(args, one.args...)
	}
	if text.Len() == 0 {
		return nil
	}
	_, err := t.exec(ctx, text.String(), args...)
	return err
}

// count runs a script statement by statement, and returns how many rows they
// changed.
func (t *Tx) count(ctx context.Context, s *script) (changed int64, err error) {
	for _, one := range s.statements {
		n, err := t.execOne(ctx, one)
		if err != nil {
			return changed, err
		}
		changed += n
	}
	return changed, nil
}

// execOne runs a statement as it was compiled before, if it was.
func (t *Tx) execOne(ctx context.Context, one statement) (int64, error) {
	ready := t.compiled.get(one.text)
	if ready == nil {
		return t.exec(ctx, one.text, one.args...)
	}
	if err := checkText(one.args); err != nil {
		return 0, err
	}
	within := t.sql.StmtContext(ctx, ready)
	defer within.Close() //nolint:errcheck // what was compiled stays
	res, err := within.ExecContext(ctx, one.args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", opening(one.text), err)
	}
	return res.RowsAffected()
}

// values returns lines as the text behind VALUES, with their arguments.
func values(lines [][]any) (string, []any) {
	var text strings.Builder
	args := make([]any, 0, len(lines)*len(lines[0]))
	one := "(" + strings.TrimSuffix(strings.Repeat("?, ", len(lines[0])), ", ") + ")"
	for i, line := range lines {
		if i > 0 {
			text.WriteString(", ")
		}
		text.WriteString(one)
		args = append(args, line...)
	}
	return text.String(), args
}
