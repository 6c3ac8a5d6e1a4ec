// Package userdata knows what a customer may give a VM to do at its first boot:
// user data as cloud-init reads it.
//
// It is the customer's secret: it may hold passwords and tokens. No fault of this
// package quotes it; where something is wrong is said by numbers.
//
// See https://docs.cloud-init.io/en/latest/explanation/format.html.
package userdata

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Most is how many bytes user data may have, as elsewhere.
const Most = 16 << 10

// Text is user data. Printed or logged, it shows its size and nothing else;
// encoded as JSON, as to the agent that it is for, it is all there.
type Text string

// Format implements fmt.Formatter.
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.hidden()) }

// LogValue implements slog.LogValuer.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.hidden()) }

func (t Text) hidden() string { return fmt.Sprintf("user data of %d bytes", len(t)) }

// Kind is what user data is, by its first line.
type Kind string

// The kinds.
const (
	Config Kind = "#cloud-config"
	Script Kind = "#!"
	MIME   Kind = "MIME multipart"
)

const kinds = `"#cloud-config", a script's "#!" and its program, or the headers of a MIME multipart message`

// Check returns an Invalid fault for user data that a guest would not understand,
// or that is too much; what is no user data at all, "", is right.
func Check(t Text) error {
	if t == "" {
		return nil
	}
	if len(t) > Most {
		return fault.Newf(fault.Invalid, "userData has %d bytes; at most %d fit a VM: have it fetch the rest", len(t), Most)
	}
	if err := checkCharacters(string(t)); err != nil {
		return fault.Newf(fault.Invalid, "userData %s", err)
	}
	kind := kindOf(string(t))
	var err error
	if kind == MIME {
		err = checkMIME(string(t))
	} else {
		err = checkPart(kind, string(t))
	}
	if err != nil {
		return fault.Newf(fault.Invalid, "userData %s", err)
	}
	return nil
}

// problem is what is wrong with user data: the end of a sentence, without a word
// of the text itself.
type problem string

func (p problem) Error() string { return string(p) }

func problemf(format string, args ...any) error { return problem(fmt.Sprintf(format, args...)) }

// checkCharacters refuses what is no text.
func checkCharacters(text string) error {
	if !utf8.ValidString(text) {
		return problemf("is not UTF-8 text")
	}
	for i, c := range text {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			return problemf("has a control character in line %d; nothing compressed or binary is understood", lineOf(text, i))
		}
	}
	return nil
}

// lineOf returns the number of the line at an offset, from 1.
func lineOf(text string, offset int) int { return 1 + strings.Count(text[:offset], "\n") }

// kindOf returns what text is by its first line, "" for nothing that is known.
func kindOf(text string) Kind {
	first, _, _ := strings.Cut(text, "\n")
	switch {
	case strings.TrimRight(first, " \t\r") == string(Config):
		return Config
	case strings.HasPrefix(first, string(Script)):
		return Script
	case isMIME(text):
		return MIME
	}
	return ""
}

// checkPart checks what is of one kind and holds no others.
func checkPart(kind Kind, text string) error {
	switch kind {
	case Config:
		return checkConfig(text)
	case Script:
		return checkScript(text)
	case MIME:
		return problemf("is a message within a message")
	}
	return problemf("begins with none of what is understood: " + kinds)
}

// checkScript refuses a first line that the guest's kernel would not follow.
func checkScript(text string) error {
	first, _, _ := strings.Cut(text, "\n")
	if strings.HasSuffix(first, "\r") {
		return problemf("is a script whose first line ends in CR LF, with which no program is found; write it with LF alone")
	}
	program := strings.TrimLeft(strings.TrimPrefix(first, string(Script)), " \t")
	if !strings.HasPrefix(program, "/") {
		return problemf("is a script whose first line names no program: write #!/bin/sh")
	}
	return nil
}
