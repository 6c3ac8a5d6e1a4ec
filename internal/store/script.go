package store

import (
	"context"
	"slices"
	"strings"
)

// chunk is how many lines one statement carries at most.
const chunk = 250

// script is statements that go to the database one behind the other. How they go
// is the engine's to say.
type script struct {
	statements []statement
	short      string // what is said when a claim changes fewer rows than it has lines
}

// statement is one that is run for lines of values: for each one of its own, or
// for many at once, with a text to match.
type statement struct {
	text  func(lines int) string
	lines [][]any
	claim bool // every line has to change one row
}

// add adds a statement.
func (s *script) add(text string, args ...any) {
	s.statements = append(s.statements, statement{func(int) string { return text }, [][]any{args}, false})
}

// lines adds a statement over lines, each of the same number of values: list is
// what stands behind VALUES. Its columns are column1, column2, … on both engines.
func (s *script) lines(lines [][]any, text func(list string) string) {
	if len(lines) == 0 {
		return
	}
	s.statements = append(s.statements, statement{func(n int) string { return text(values(n, len(lines[0]))) }, lines, false})
}

// claim is lines for an UPDATE of which every line has to change one row: the
// transaction ends with a Conflict fault that says short otherwise.
func (s *script) claim(lines [][]any, short string, text func(list string) string) {
	if len(lines) > 0 {
		s.lines(lines, text)
		s.statements[len(s.statements)-1].claim = true
		s.short = short
	}
}

// insert adds the insertion of lines; into is all before VALUES.
func (s *script) insert(into string, lines [][]any) {
	s.lines(lines, func(list string) string { return into + ` VALUES ` + list })
}

// each calls fn for each text of a script and its arguments, when statements
// carry so many lines at most. A claim has to change as many rows as it carries.
func (s *script) each(most int, fn func(text string, args []any, claim int) error) error {
	for _, one := range s.statements {
		for lines := range slices.Chunk(one.lines, most) {
			claim := 0
			if one.claim {
				claim = len(lines)
			}
			if err := fn(one.text(len(lines)), slices.Concat(lines...), claim); err != nil {
				return err
			}
		}
	}
	return nil
}

// later has a script run before anything else is read or written, at the end of
// the transaction at the latest: a round trip is spared where that comes next.
func (t *Tx) later(s *script) {
	t.pending.statements = append(t.pending.statements, s.statements...)
	if s.short != "" {
		t.pending.short = s.short
	}
}

// flush runs what was to run later.
func (t *Tx) flush(ctx context.Context) error {
	due := t.pending
	t.pending = script{}
	if len(due.statements) == 0 {
		return nil
	}
	return t.writing.run(ctx, &due)
}

// values returns what stands behind VALUES for so many lines of so many values.
func values(lines, width int) string {
	one := "(" + strings.TrimSuffix(strings.Repeat("?, ", width), ", ") + ")"
	return one + strings.Repeat(", "+one, lines-1)
}
