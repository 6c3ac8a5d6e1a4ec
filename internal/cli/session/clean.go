package session

import (
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

func visible(c rune) rune {
	if unicode.IsPrint(c) {
		return c
	}
	return unicode.ReplacementChar
}
