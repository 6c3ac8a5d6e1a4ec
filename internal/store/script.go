package store

import "context"

// script is statements that go to the database one behind the other. How they go
// is the engine's to say.
type script struct {
	statements []statement
	short      string // what is said when a claim changes fewer rows than it has lines
}

// statement is one that is run for lines of values, or once if it has none.
type statement struct {
	text  func(table string) string
	into  string  // of an insertion of lines as they are: text up to the table, "" for others
	lines [][]any // each of the same number of values, of the same types: string, int64 or bool
	claim bool    // every line has to change one row
}

// add adds a statement without values.
func (s *script) add(text string) {
	s.statements = append(s.statements, statement{text: func(string) string { return text }})
}

// over adds a statement over lines: table stands for them in its text, as t with
// the columns column1, column2 and so on.
func (s *script) over(lines [][]any, text func(table string) string) {
	if len(lines) > 0 {
		s.statements = append(s.statements, statement{text: text, lines: lines})
	}
}

// insert adds the insertion of lines; into is all before their values.
func (s *script) insert(into string, lines [][]any) {
	if len(lines) > 0 {
		s.statements = append(s.statements, statement{
			text: func(table string) string { return into + ` SELECT * FROM ` + table },
			into: into, lines: lines,
		})
	}
}

// claim is over for an UPDATE of which every line has to change one row: the
// transaction ends with a Conflict fault that says short otherwise.
func (s *script) claim(lines [][]any, short string, text func(table string) string) {
	if len(lines) > 0 {
		s.statements = append(s.statements, statement{text: text, lines: lines, claim: true})
		s.short = short
	}
}

// size returns how many lines a script writes.
func (s *script) size() (n int) {
	for i := range s.statements {
		n += max(1, len(s.statements[i].lines))
	}
	return n
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
	t.noteSheet(t.sheet.Take())
	return t.runPending(ctx)
}

func (t *Tx) runPending(ctx context.Context) error {
	due := t.pending
	t.pending = script{}
	if len(due.statements) == 0 {
		return nil
	}
	t.lines += due.size()
	return t.writing.run(ctx, &due)
}
