// Package socket carries the frames of a serial console over WebSockets.
package socket

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/cpucloud/cpucloud/internal/serial"
)

const (
	// Slow is how long a frame may take to be sent: who takes nothing for so long is cut.
	Slow = 20 * time.Second
	// Beat is how often the other end is asked whether it is there. Proxies cut
	// connections that are silent for a minute.
	Beat = 20 * time.Second
	// maxNote is the most bytes of a note.
	maxNote = 4 << 10
)

// Socket is a line over a WebSocket.
type Socket struct {
	conn *websocket.Conn
	once sync.Once
}

var _ serial.Line = (*Socket)(nil)

// New returns a line over conn, which it owns.
func New(conn *websocket.Conn) *Socket {
	conn.SetReadLimit(serial.MaxFrame + maxNote)
	return &Socket{conn: conn}
}

// Receive implements serial.Line.
func (s *Socket) Receive(ctx context.Context) (serial.Frame, error) {
	kind, text, err := s.conn.Read(ctx)
	if err != nil {
		return serial.Frame{}, err
	}
	if kind == websocket.MessageBinary {
		return serial.Frame{Data: text}, nil
	}
	var note serial.Note
	if len(text) > maxNote {
		return serial.Frame{}, fmt.Errorf("a note of %d bytes", len(text))
	}
	if err := json.Unmarshal(text, &note); err != nil {
		return serial.Frame{}, fmt.Errorf("read note: %w", err)
	}
	return serial.Frame{Note: &note}, nil
}

// Send implements serial.Line.
func (s *Socket) Send(ctx context.Context, f serial.Frame) error {
	ctx, cancel := context.WithTimeout(ctx, Slow)
	defer cancel()
	if f.Note == nil {
		return s.conn.Write(ctx, websocket.MessageBinary, f.Data)
	}
	text, err := json.Marshal(f.Note)
	if err != nil {
		return fmt.Errorf("write note: %w", err)
	}
	return s.conn.Write(ctx, websocket.MessageText, text)
}

// Close implements serial.Line.
func (s *Socket) Close(ctx context.Context, last serial.Note) {
	s.once.Do(func() {
		last.End = true
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second) // who is slow is not waited for
		defer cancel()
		if s.Send(ctx, serial.Frame{Note: &last}) == nil {
			_ = s.conn.Close(websocket.StatusNormalClosure, "") // the other end may be gone
		}
		_ = s.conn.CloseNow()
	})
}

// Keep asks now and then whether the other end is there, until ctx is done, and
// hangs up when it isn't. Somebody has to receive meanwhile.
func (s *Socket) Keep(ctx context.Context) {
	tick := time.NewTicker(Beat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		beat, cancel := context.WithTimeout(ctx, Slow)
		err := s.conn.Ping(beat)
		cancel()
		if err != nil {
			_ = s.conn.CloseNow() // which ends Receive
			return
		}
	}
}
