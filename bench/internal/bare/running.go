package bare

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu/qmp"
)

// Running returns how long QEMU takes from its start until it says by QMP that it
// runs the guest, as the agent asks it. Its card leads nowhere.
func (m *Machine) Running(ctx context.Context) (took time.Duration, err error) {
	begin := report.Now()
	p, err := m.PowerOn(ctx, Card{Netdev: "user"})
	if err != nil {
		return 0, err
	}
	defer p.Stop()
	var status struct{ Status string }
	err = p.qmp.Execute(ctx, "query-status", nil, &status)
	took = report.Now().Sub(begin)
	if err == nil && status.Status != "running" {
		err = fmt.Errorf("bare QEMU is %s: %s", status.Status, m.Said())
	}
	return took, err
}

// Power is a machine that runs and is told by QMP what to do.
type Power struct {
	*child
	machine *Machine
	qmp     *qmp.Client
}

// PowerOn starts the machine with its card, which it closes here, and returns once
// it answers by QMP.
func (m *Machine) PowerOn(ctx context.Context, card Card) (_ *Power, err error) {
	defer card.Close()
	socket, path, err := m.listen(ctx)
	if err != nil {
		return nil, err
	}
	defer socket.Close() //nolint:errcheck // it is QEMU's
	p := &Power{machine: m}
	const firstFD = 3
	if p.child, err = m.run(ctx, []string{
		"-netdev", card.Netdev + ",id=net0",
		"-chardev", fmt.Sprintf("socket,id=%s,fd=%d,server=on,wait=off", qmpName, firstFD+len(card.Files)), "-mon", "chardev=" + qmpName + ",mode=control",
	}, append(card.Files, socket)...); err != nil {
		return nil, err
	}
	if p.qmp, err = qmp.Dial(ctx, path); err != nil {
		p.stop()
		return nil, fmt.Errorf("bare QEMU: %w: %s", err, m.Said())
	}
	return p, nil
}

// listen makes the socket at which QEMU speaks QMP.
func (m *Machine) listen(ctx context.Context) (*os.File, string, error) {
	path := filepath.Join(m.dir, qmpName)
	if err := os.RemoveAll(path); err != nil {
		return nil, "", err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, "", err
	}
	defer l.Close()                               //nolint:errcheck // it is QEMU's
	l.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:forcetypeassert // what else listens there
	socket, err := l.(*net.UnixListener).File()
	return socket, path, err
}

// PowerOff presses the power button and returns once the guest has powered itself
// off and QEMU is gone.
func (p *Power) PowerOff(ctx context.Context) error {
	if err := p.qmp.Execute(ctx, "system_powerdown", nil, nil); err != nil {
		return err
	}
	select {
	case <-p.ended:
		p.Stop()
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("the bare guest did not power itself off: %s", p.machine.Said()), ctx.Err())
	}
}

// AwaitReset returns once the guest has reset its machine.
func (p *Power) AwaitReset(ctx context.Context) error {
	for {
		e, err := p.qmp.Next(ctx)
		if err != nil {
			return fmt.Errorf("wait for the bare guest's reset: %w: %s", err, p.machine.Said())
		}
		if e.Name == "RESET" {
			return nil
		}
	}
}

// Stop ends the machine.
func (p *Power) Stop() {
	_ = p.qmp.Close() // nobody asks any more
	p.stop()
}

// Console connects to the serial port of the machine, which runs.
func (m *Machine) Console(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(m.dir, console))
	if err != nil {
		return nil, fmt.Errorf("bare QEMU: %w: %s", err, m.Said())
	}
	return conn, nil
}
