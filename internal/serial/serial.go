// Package serial is what a machine's serial console is made of, on its way from
// the machine to who sits before it: the port on the host, the log of the latest,
// and the frames that are exchanged.
package serial

import "context"

const (
	// Kept is how many bytes of a console are kept, the newest.
	Kept = 256 << 10
	// MaxFrame is the most bytes of a console in one frame.
	MaxFrame = 32 << 10
)

// Frame is one message on a line: bytes of the console, or a note about it.
type Frame struct {
	Data []byte
	Note *Note // nil in a frame of data
}

// Note is what the two ends of a line tell each other beside the console's bytes.
type Note struct {
	Text   string `json:"text,omitempty"`   // a sentence for who reads
	Writer *bool  `json:"writer,omitempty"` // whether who reads is the one who writes, from now on
	End    bool   `json:"end,omitempty"`    // nothing follows
	Failed bool   `json:"failed,omitempty"` // and it ended otherwise than was wished
}

// Line is one end of the way between a console and who sits before it. One
// goroutine receives while others send.
type Line interface {
	// Receive returns the next frame. Once ctx is done the line is of no more use.
	Receive(ctx context.Context) (Frame, error)
	// Send sends a frame. It waits for a slow reader, and fails when that takes too long.
	Send(ctx context.Context, f Frame) error
	// Close sends a last note and hangs up. Only the first call does anything.
	Close(ctx context.Context, last Note)
}
