// Package session is what every command of the command line has in common:
// where its input and output go, which cloud it talks to, and how it prints.
package session

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// IO is the world around a command.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	Env      func(name string) string
	Now      func() time.Time
	Rand     io.Reader
	// Terminal returns how wide the terminal behind a stream is, ok false when
	// it is none. Nil asks the operating system.
	Terminal func(stream any) (width int, ok bool)
}

// Session is one run of the command line. Its fields are the global flags.
type Session struct {
	IO
	URL    string
	Data   string
	Format Format
}

// Notef tells the user, in one line, something that is no result.
func (s *Session) Notef(format string, args ...any) {
	fmt.Fprintln(s.Err, Clean(fmt.Sprintf(format, args...)))
}

// TerminalWidth returns how wide the terminal behind a stream is, ok false when
// it is none.
func (s *Session) TerminalWidth(stream any) (width int, ok bool) {
	if s.Terminal != nil {
		return s.Terminal(stream)
	}
	f, isFile := stream.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	return width, true
}

// NewRequestID returns an id that makes a request safe to repeat.
func (s *Session) NewRequestID() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(s.Rand, b[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return "cli-" + hex.EncodeToString(b[:]), nil
}

// Confirm asks a question on the terminal. Where there is nobody to ask it
// returns an Invalid fault that names the flag to give.
func (s *Session) Confirm(question, flag string) (bool, error) {
	if _, ok := s.TerminalWidth(s.In); !ok {
		return false, fault.Newf(fault.Invalid, "there is no terminal to ask on: give %s", flag)
	}
	fmt.Fprintf(s.Err, "%s [y/N] ", Clean(question))
	answer, err := bufio.NewReader(io.LimitReader(s.In, 1024)).ReadString('\n')
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("read answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}
