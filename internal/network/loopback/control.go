package loopback

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
)

// The driver and the switch talk over a unix socket: one connection a request,
// one JSON value each way, a plug's file beside the answer. Switches outlive
// the program that started them, so version 1 is spoken for ever: fields may be
// added to it, never change their meaning.
const (
	version     = 1
	maxMessage  = 8 << 20 // a list of some thousand links
	requestTime = 20 * time.Second
)

// What a request asks for.
const (
	doEnsure  = "ensure"
	doList    = "list"
	doPlug    = "plug"
	doCut     = "cut"
	doDestroy = "destroy"
	doTraffic = "traffic"
)

type request struct {
	Version int            `json:"version"`
	Do      string         `json:"do"`
	ID      string         `json:"id,omitempty"`    // plug, cut, destroy
	Link    *network.Link  `json:"link,omitempty"`  // ensure
	Allow   []netip.Prefix `json:"allow,omitempty"` // ensure
}

type response struct {
	Version int            `json:"version"`
	Links   []network.Link `json:"links,omitempty"`
	Error   *problem       `json:"error,omitempty"`

	Traffic map[string]network.Traffic `json:"traffic,omitempty"` // by link
}

// problem is a fault on its way through the socket.
type problem struct {
	Kind    fault.Kind `json:"kind"`
	Message string     `json:"message"`
}

func newProblem(err error) *problem {
	if err == nil {
		return nil
	}
	return &problem{Kind: fault.KindOf(err), Message: err.Error()}
}

func (p *problem) err() error {
	switch {
	case p == nil:
		return nil
	case p.Kind == fault.Internal:
		return errors.New(p.Message)
	default:
		return fault.New(p.Kind, p.Message)
	}
}

// ask sends q over conn and returns the answer, with its file if it has one.
func ask(conn *net.UnixConn, q request) (response, *os.File, error) {
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return response{}, nil, err
	}
	if err := conn.CloseWrite(); err != nil {
		return response{}, nil, err
	}
	var first [4 << 10]byte
	var control [64]byte
	n, controlLen, _, _, err := conn.ReadMsgUnix(first[:], control[:])
	if err != nil {
		return response{}, nil, err
	}
	file, err := received(control[:controlLen])
	if err != nil {
		return response{}, nil, err
	}
	var a response
	rest := io.LimitReader(io.MultiReader(bytes.NewReader(first[:n]), conn), maxMessage)
	if err := json.NewDecoder(rest).Decode(&a); err != nil {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return response{}, nil, err
	}
	return a, file, nil
}

// answer sends a over conn, and file beside it unless that is nil.
func answer(conn *net.UnixConn, a response, file *os.File) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if file == nil {
		_, err = conn.Write(text)
		return err
	}
	_, _, err = conn.WriteMsgUnix(text, unix.UnixRights(int(file.Fd())), nil)
	return err
}

// received returns the file in a control message, nil when there is none.
func received(control []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) == 0 {
		return nil, err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	if len(fds) != 1 {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("%d files instead of one", len(fds))
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "plug"), nil
}
