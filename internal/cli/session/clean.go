package session

import (
	"regexp"
	"strings"
	"unicode"
)

// Clean returns s with everything replaced that a terminal would obey rather
// than show: control characters, escape sequences, marks that turn the
// direction of text. Names and messages come from strangers.
func Clean(s string) string { return strings.Map(visible, s) }

// CleanLines is Clean for text of several lines.
func CleanLines(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' {
			return c
		}
		return visible(c)
	}, s)
}

// CleanConsole is CleanLines for what a terminal was written to: returns before
// line ends, and the sequences with which a terminal is told of colours, cursors and
// titles, are left out, and what is left of such is shown.
func CleanConsole(text []byte) string {
	plain := sequence.ReplaceAllString(strings.ToValidUTF8(string(text), string(unicode.ReplacementChar)), "")
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' {
			return c
		}
		return visible(c)
	}, plain)
}

// sequence is what ECMA-48 calls control sequences, and strings with their ends; and
// what sets a line's beginning.
var sequence = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\n]*(\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]|\r+`)

func visible(c rune) rune {
	if unicode.IsPrint(c) {
		return c
	}
	return unicode.ReplacementChar
}
