package servertest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
)

// A host stands behind a socket, so that an agent in a process of its own can be
// killed and the hardware under it lives on. Each call is a connection, on which
// one packet goes there and one comes back; a plug travels as an open file.

// question is what a driver in the agent's process asks of the host.
type question struct {
	Do      string
	ID      string
	Machine hypervisor.Machine
	Index   int             // of a disk to copy; the target comes with it
	Disk    hypervisor.Disk // that it is
	Freeze  bool
	Link    network.Link
}

// reply is what the host says.
type reply struct {
	Kind     fault.Kind // of the error, "" for none
	Error    string
	Machines []hypervisor.Instance
	Console  []byte
	Order    hypervisor.Consistency
	Links    []network.Link
	Usage    []hypervisor.Usage
	Traffic  map[string]network.Traffic
	Plug     string // what kind of file comes with it
}

const packet = 1 << 17 // bytes; a list of 100 VMs is a fifth of it

// serveHost answers for a host until the test ends. It answers one call after
// the other in the order in which they came: what an agent asked for before it
// was killed is done before what the next one asks.
func serveHost(t *testing.T, path string, h hypervisor.Driver, n network.Driver) {
	t.Helper()
	listener, err := net.Listen("unixpacket", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			answer(conn.(*net.UnixConn), h, n)
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
}

func answer(conn *net.UnixConn, h hypervisor.Driver, n network.Driver) {
	defer conn.Close() //nolint:errcheck // whoever asked may be dead
	text, file, err := receive(conn)
	var q question
	if err != nil || json.Unmarshal(text, &q) != nil {
		return // killed before it asked
	}
	r, plug := do(q, file, h, n)
	if text, err = json.Marshal(r); err == nil {
		_ = send(conn, text, plug)
	}
	if plug != nil {
		_ = plug.Close()
	}
}

func do(q question, file *os.File, h hypervisor.Driver, n network.Driver) (r reply, plug *os.File) {
	ctx, err := context.Background(), error(nil)
	switch q.Do {
	case "start":
		q.Machine.NIC.File = file
		err = h.Ensure(ctx, q.Machine)
	case "machines":
		r.Machines, err = h.List(ctx)
	case "shut down":
		err = h.Shutdown(ctx, q.ID)
	case "reset":
		err = h.Reset(ctx, q.ID)
	case "copy":
		r.Order, err = h.Backup(ctx, q.ID, hypervisor.Backup{Index: q.Index, Disk: q.Disk, Freeze: q.Freeze, Target: file})
	case "console":
		r.Console, err = h.Console(ctx, q.ID)
	case "end":
		err = h.Destroy(ctx, q.ID)
	case "usage":
		r.Usage, err = h.Usage(ctx)
	case "traffic":
		r.Traffic, err = n.Traffic(ctx)
	case "link":
		err = n.Ensure(ctx, q.Link)
	case "links":
		r.Links, err = n.List(ctx)
	case "unlink":
		err = n.Destroy(ctx, q.ID)
	case "plug":
		var p network.Plug
		p, err = n.Plug(ctx, q.ID)
		r.Plug, plug = p.Kind, p.File
	default:
		err = fmt.Errorf("nobody knows how to %q", q.Do)
	}
	if err != nil {
		r.Kind, r.Error = fault.KindOf(err), err.Error()
	}
	return r, plug
}

// remote asks the host at a socket.
type remote string

func (path remote) ask(ctx context.Context, q question, file *os.File) (r reply, plug *os.File, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unixpacket", string(path))
	if err != nil {
		return r, nil, err
	}
	defer conn.Close() //nolint:errcheck // the answer is there or it is not
	text, err := json.Marshal(q)
	if err != nil {
		return r, nil, err
	}
	if err := send(conn.(*net.UnixConn), text, file); err != nil {
		return r, nil, err
	}
	if text, plug, err = receive(conn.(*net.UnixConn)); err != nil {
		return r, nil, err
	}
	err = json.Unmarshal(text, &r)
	if err == nil && r.Kind != "" {
		err = fault.New(r.Kind, r.Error)
	}
	return r, plug, err
}

func send(conn *net.UnixConn, text []byte, file *os.File) error {
	var rights []byte
	if file != nil {
		rights = syscall.UnixRights(int(file.Fd()))
	}
	_, _, err := conn.WriteMsgUnix(text, rights, nil)
	return err
}

func receive(conn *net.UnixConn) (text []byte, file *os.File, err error) {
	text, rights := make([]byte, packet), make([]byte, syscall.CmsgSpace(4))
	n, m, flags, _, err := conn.ReadMsgUnix(text, rights)
	if err != nil || flags&syscall.MSG_TRUNC != 0 || n == 0 {
		return nil, nil, errors.Join(err, errors.New("no whole packet came"))
	}
	if m == 0 {
		return text[:n], nil, nil
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:m])
	if err != nil {
		return nil, nil, err
	}
	files, err := syscall.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, nil, err
	}
	return text[:n], os.NewFile(uintptr(files[0]), "plug"), nil
}

// machines is the host's hypervisor.
type machines struct{ remote }

var _ hypervisor.Driver = machines{}

func (m machines) Probe(context.Context) (hypervisor.Facts, error) {
	return hypervisor.Facts{Version: "1.0", Accelerator: "tcg", Reason: "it is remote"}, nil
}

func (m machines) Ensure(ctx context.Context, want hypervisor.Machine) error {
	file := want.NIC.File
	want.NIC.File = nil
	_, _, err := m.ask(ctx, question{Do: "start", Machine: want}, file)
	if file != nil {
		_ = file.Close()
	}
	return err
}

func (m machines) List(ctx context.Context) ([]hypervisor.Instance, error) {
	r, _, err := m.ask(ctx, question{Do: "machines"}, nil)
	return r.Machines, err
}

func (m machines) Usage(ctx context.Context) ([]hypervisor.Usage, error) {
	r, _, err := m.ask(ctx, question{Do: "usage"}, nil)
	return r.Usage, err
}

func (m machines) Shutdown(ctx context.Context, id string) error {
	_, _, err := m.ask(ctx, question{Do: "shut down", ID: id}, nil)
	return err
}

func (m machines) Reset(ctx context.Context, id string) error {
	_, _, err := m.ask(ctx, question{Do: "reset", ID: id}, nil)
	return err
}

func (m machines) Backup(ctx context.Context, id string, b hypervisor.Backup) (hypervisor.Consistency, error) {
	r, _, err := m.ask(ctx, question{Do: "copy", ID: id, Index: b.Index, Disk: b.Disk, Freeze: b.Freeze}, b.Target)
	return r.Order, err
}

func (m machines) Console(ctx context.Context, id string) ([]byte, error) {
	r, _, err := m.ask(ctx, question{Do: "console", ID: id}, nil)
	return r.Console, err
}

func (m machines) Destroy(ctx context.Context, id string) error {
	_, _, err := m.ask(ctx, question{Do: "end", ID: id}, nil)
	return err
}

// links is the host's network.
type links struct {
	remote
	network.Driver // for Guest, which asks nobody
}

var _ network.Driver = links{}

func (l links) Ensure(ctx context.Context, want network.Link) error {
	_, _, err := l.ask(ctx, question{Do: "link", Link: want}, nil)
	return err
}

func (l links) Plug(ctx context.Context, id string) (network.Plug, error) {
	r, file, err := l.ask(ctx, question{Do: "plug", ID: id}, nil)
	return network.Plug{Kind: r.Plug, File: file}, err
}

func (l links) List(ctx context.Context) ([]network.Link, error) {
	r, _, err := l.ask(ctx, question{Do: "links"}, nil)
	return r.Links, err
}

func (l links) Traffic(ctx context.Context) (map[string]network.Traffic, error) {
	r, _, err := l.ask(ctx, question{Do: "traffic"}, nil)
	return r.Traffic, err
}

func (l links) Destroy(ctx context.Context, id string) error {
	_, _, err := l.ask(ctx, question{Do: "unlink", ID: id}, nil)
	return err
}

// Nobody sits before a console of such a host.
func (m machines) Attach(context.Context, string) (io.ReadWriteCloser, error) {
	return nil, errFarConsole
}

var errFarConsole = fault.New(fault.Unavailable, "the console is on another host")
