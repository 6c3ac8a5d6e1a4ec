package api_test

import (
	"context"
	"io"

	"github.com/cpucloud/cpucloud/internal/serial"
)

// script is an agent's end of a line that says what was written down for it.
type script struct{ frames []serial.Frame }

func (s *script) Receive(context.Context) (serial.Frame, error) {
	if len(s.frames) == 0 {
		return serial.Frame{}, io.EOF
	}
	next := s.frames[0]
	s.frames = s.frames[1:]
	return next, nil
}

func (s *script) Send(context.Context, serial.Frame) error { return nil }

func (s *script) Close(context.Context, serial.Note) {}
