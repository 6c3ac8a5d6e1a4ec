package qemu

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/serial"
)

const (
	serialLog = "serial.log"
	// flow bounds what is taken from one guest in a tick. One that writes more waits
	// for its port, as for a real one, of which the fastest take a hundredth of that.
	flow     = 256 << 10
	flowTick = 250 * time.Millisecond
	// again is how long it takes until a port that was lost is connected again.
	again = time.Second
	// typed is how long a guest may take to take in what is typed.
	typed = 2 * time.Second
)

// ports are the consoles that this driver listens to, by machine.
type ports struct {
	mu     sync.Mutex
	open   map[string]*serial.Port
	closed chan struct{}
	once   sync.Once
	ended  sync.WaitGroup
}

func newPorts() *ports { return &ports{open: map[string]*serial.Port{}, closed: make(chan struct{})} }

// close ends all listening, and waits for that.
func (p *ports) close() {
	p.once.Do(func() { close(p.closed) })
	p.ended.Wait()
}

// context returns one that ends when listening does.
func (p *ports) context() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // it ends with the driver
	go func() {
		select {
		case <-p.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (p *ports) get(id string) *serial.Port {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open[id]
}

// Console implements hypervisor.Driver.
func (d *Driver) Console(_ context.Context, id string) ([]byte, error) {
	if err := d.exists(id); err != nil {
		return nil, err
	}
	f, err := d.root.Open(filepath.Join(id, serialLog))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	return serial.ReadLog(f)
}

// Attach implements hypervisor.Driver.
func (d *Driver) Attach(_ context.Context, id string) (io.ReadWriteCloser, error) {
	if err := d.exists(id); err != nil {
		return nil, err
	}
	port := d.ports.get(id)
	if port == nil {
		return nil, serial.ErrEnded
	}
	return port.Attach()
}

func (d *Driver) exists(id string) error {
	if err := hypervisor.CheckID(id); err != nil {
		return err
	}
	_, err := d.root.Stat(id)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Newf(fault.NotFound, "no machine %s", id)
	}
	return err
}

// listenToAll listens to the consoles of all machines that live.
func (d *Driver) listenToAll() error {
	ids, err := d.ids()
	if err != nil {
		return err
	}
	for _, id := range ids {
		alive, err := d.alive(id)
		if err == nil && alive {
			err = d.listenTo(id)
		}
		if err != nil {
			// A machine without a console is worth more than an agent that doesn't start.
			d.config.Log.Error("console of a machine can't be read", "machine_id", id, "error", err)
		}
	}
	return nil
}

// listenTo has the console of machine id, which lives, read until it ends. The
// first connection is there when it returns, unless it can't be made yet.
func (d *Driver) listenTo(id string) error {
	f, err := d.root.OpenFile(filepath.Join(id, serialLog), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	port := serial.NewPort()
	conn := d.plug(id, port)
	d.ports.mu.Lock()
	d.ports.open[id] = port
	d.ports.mu.Unlock()
	d.ports.ended.Go(func() {
		defer f.Close() //nolint:errcheck // it is not synced either
		d.listen(id, port, conn, serial.OpenLog(f))
		port.End()
		d.ports.mu.Lock()
		defer d.ports.mu.Unlock()
		if d.ports.open[id] == port { // and not that of its next start
			delete(d.ports.open, id)
		}
	})
	return nil
}

// listen reads the console of machine id until that ends, or the driver does.
func (d *Driver) listen(id string, port *serial.Port, conn net.Conn, log *serial.Log) {
	for {
		if conn != nil {
			d.hear(id, port, conn, log)
		}
		if alive, err := d.alive(id); err == nil && !alive {
			return
		}
		pause := time.NewTimer(again) // QEMU hangs up only when it ends; one that was taken over may do it all the time
		select {
		case <-pause.C:
		case <-d.ports.closed:
			pause.Stop()
			return
		}
		if d.ports.get(id) != port {
			return // it was started again
		}
		conn = d.plug(id, port)
	}
}

// plug connects to the serial port of machine id; nil when that isn't possible now.
func (d *Driver) plug(id string, port *serial.Port) (conn net.Conn) {
	err := d.connect(id, serialSocket, func(path string) (err error) {
		dialer := net.Dialer{Timeout: talkLimit}
		conn, err = dialer.Dial("unix", path)
		return err
	})
	if err != nil {
		if !leaving(err) {
			d.config.Log.Warn("console of a machine can't be read", "machine_id", id, "error", err)
		}
		return nil
	}
	port.Connect(keyboard{conn})
	return conn
}

// hear reads conn to its end.
func (d *Driver) hear(id string, port *serial.Port, conn net.Conn, log *serial.Log) {
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-d.ports.closed:
		case <-done:
		}
		_ = conn.Close()
	}()
	defer port.Connect(nil)
	pace := serial.Pace{Bytes: flow, Per: flowTick}
	text, complained := make([]byte, 4<<10), false
	for {
		n, err := conn.Read(text)
		if n > 0 {
			if err := log.Append(text[:n]); err != nil && !complained {
				complained = true
				d.config.Log.Error("console of a machine is not kept", "machine_id", id, "error", err)
			}
			port.Feed(text[:n])
		}
		if err != nil || !pace.Pass(d.ports.closed, n) {
			return
		}
	}
}

// keyboard types to a guest. One that doesn't take anything in is not waited for
// long: what is typed then is lost, as at a machine that hangs.
type keyboard struct{ conn net.Conn }

// Write types. Returns an Unavailable fault when the guest takes nothing in.
func (k keyboard) Write(text []byte) (int, error) {
	if err := k.conn.SetWriteDeadline(time.Now().Add(typed)); err != nil { //nolint:forbidigo // sockets know no other time
		return 0, err
	}
	n, err := k.conn.Write(text)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fault.New(fault.Unavailable, "the VM takes in nothing that is typed; what was typed is lost")
	}
	return n, err
}
