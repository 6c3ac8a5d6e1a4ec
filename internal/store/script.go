package store

import (
	"context"
	"strings"
)

// chunk is how many lines one statement carries.
const chunk = 250

// script is statements that go to the database in one piece: on PostgreSQL a
// round trip costs as much as a small statement.
type script struct {
	text strings.Builder
	args []any
}

// add adds a statement.
func (s *script) add(statement string, args ...any) {
	s.text.WriteString(statement)
	s.text.WriteString(";\n")
	s.args = append(s.args, args...)
}

// lines adds statements over lines, each of the same number of values: list is
// what stands behind VALUES. Its columns are column1, column2, … on both engines.
func (s *script) lines(lines [][]any, statement func(list string) string) {
	for len(lines) > 0 {
		part := lines[:min(len(lines), chunk)]
		lines = lines[len(part):]
		list, args := values(part)
		s.add(statement(list), args...)
	}
}

// insert adds the insertion of lines; into is all before VALUES.
func (s *script) insert(into string, lines [][]any) {
	s.lines(lines, func(list string) string { return into + ` VALUES ` + list })
}

// run runs a script, if there is anything in it.
func (t *Tx) run(ctx context.Context, s *script) error {
	if s.text.Len() == 0 {
		return nil
	}
	_, err := t.exec(ctx, s.text.String(), s.args...)
	return err
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
