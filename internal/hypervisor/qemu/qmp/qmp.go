// Package qmp speaks the QEMU Machine Protocol: one JSON object a line, an
// answer to each command, events in between.
//
// A client serves one goroutine. QEMU talks to one client at a time and
// accepts the next when that one hangs up, so clients are meant to be short
// lived: dial, ask, close.
package qmp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxLine   = 1 << 20 // QEMU is not trusted to end its lines
	maxEvents = 64      // kept while waiting for an answer; later ones are dropped
)

// ErrProtocol is what a peer earns that doesn't speak QMP.
var ErrProtocol = errors.New("not the machine protocol")

// Error is QEMU's refusal of a command.
type Error struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

// Error returns QEMU's own sentence.
func (e *Error) Error() string { return e.Desc }

// Event is something that happened in the machine.
type Event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// Client is a connection on which commands can be given.
type Client struct {
	conn   net.Conn
	lines  *bufio.Scanner
	events []Event
	lastID uint64
}

// message is any line that QEMU may send.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	ID       string          `json:"id"`
	Return   json.RawMessage `json:"return"`
	Error    *Error          `json:"error"`
	Event
}

// Dial connects to the unix socket at path and makes the client ready for
// commands. It waits, until ctx ends, for QEMU to be done with other clients.
func Dial(ctx context.Context, path string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	c, err := New(ctx, conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// New makes a client of a fresh connection, which it owns unless it returns an error.
func New(ctx context.Context, conn net.Conn) (*Client, error) {
	c := &Client{conn: conn, lines: bufio.NewScanner(conn)}
	c.lines.Buffer(nil, maxLine)
	c.lines.Split(wholeLine)
	stop := c.until(ctx)
	m, err := c.read()
	if err = stop(err); err != nil {
		return nil, fmt.Errorf("greeting: %w", err)
	}
	if m.Greeting == nil {
		return nil, fmt.Errorf("greeting: %w", ErrProtocol)
	}
	return c, c.Execute(ctx, "qmp_capabilities", nil, nil)
}

// Execute gives a command and waits for its answer, which is decoded into out
// unless that is nil. It returns an *Error when QEMU refuses, io.EOF when QEMU
// is gone. After any other error the client is of no more use.
func (c *Client) Execute(ctx context.Context, command string, args, out any) error {
	return c.execute(ctx, command, args, out, c.conn.Write)
}

// Pass is Execute that hands an open file over with the command. It returns
// errors.ErrUnsupported where the connection is no unix socket.
func (c *Client) Pass(ctx context.Context, command string, args any, file *os.File, out any) error {
	conn, ok := c.conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("%s: pass a file: %w", command, errors.ErrUnsupported)
	}
	rights := unix.UnixRights(int(file.Fd()))
	return c.execute(ctx, command, args, out, func(line []byte) (int, error) {
		n, _, err := conn.WriteMsgUnix(line, rights, nil)
		return n, err
	})
}

// execute sends a command by write.
func (c *Client) execute(ctx context.Context, command string, args, out any, write func([]byte) (int, error)) error {
	c.lastID++
	id := strconv.FormatUint(c.lastID, 10)
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        string `json:"id"`
	}{command, args, id})
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	stop := c.until(ctx)
	m, err := c.answer(append(line, '\n'), id, write)
	if err = stop(err); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, out); err != nil {
		return fmt.Errorf("%s: answer: %w", command, err)
	}
	return nil
}

// Next returns the next event, waiting for it until ctx ends. It returns
// io.EOF when QEMU is gone.
func (c *Client) Next(ctx context.Context) (Event, error) {
	if len(c.events) > 0 {
		e := c.events[0]
		c.events = c.events[1:]
		return e, nil
	}
	stop := c.until(ctx)
	m, err := c.read()
	if err == nil && m.Name == "" {
		err = ErrProtocol // an answer nobody waits for
	}
	return m.Event, stop(err)
}

// Close hangs up.
func (c *Client) Close() error { return c.conn.Close() }

// answer sends a line and reads until the answer that carries id.
func (c *Client) answer(line []byte, id string, write func([]byte) (int, error)) (message, error) {
	if _, err := write(line); err != nil {
		return message{}, err
	}
	for {
		m, err := c.read()
		switch {
		case err != nil:
			return message{}, err
		case m.Name != "":
			if len(c.events) < maxEvents {
				c.events = append(c.events, m.Event)
			}
		case m.ID != id && m.ID != "": // a command that QEMU can't parse is refused without an id
			return message{}, ErrProtocol
		case m.Error != nil:
			return message{}, m.Error
		case m.Return == nil:
			return message{}, ErrProtocol
		default:
			return m, nil
		}
	}
}

func (c *Client) read() (message, error) {
	var m message
	if !c.lines.Scan() {
		if err := c.lines.Err(); err != nil {
			return m, err
		}
		return m, io.EOF
	}
	if err := json.Unmarshal(c.lines.Bytes(), &m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return m, nil
}

// until makes reading and writing fail once ctx ends. The function it returns
// ends that and gives ctx's error in place of the one it caused.
func (c *Client) until(ctx context.Context) func(error) error {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	return func(err error) error {
		if stop(); err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
}

// wholeLine splits at newlines and takes a line that was cut off for an error.
func wholeLine(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}
