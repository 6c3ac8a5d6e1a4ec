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
	path := filepath.Join(m.dir, "qmp")
	if err := os.RemoveAll(path); err != nil {
		return 0, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return 0, err
	}
	defer l.Close() //nolint:errcheck // it is QEMU's
	socket, err := l.(*net.UnixListener).File()
	if err != nil {
		return 0, err
	}
	defer socket.Close() //nolint:errcheck // it is QEMU's
	begin := report.Now()
	stop, err := m.run(ctx, []string{
		"-netdev", "user,id=net0", "-chardev", "socket,id=qmp,fd=3,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
	}, socket)
	if err != nil {
		return 0, err
	}
	defer stop()
	c, err := qmp.Dial(ctx, path)
	if err != nil {
		return 0, fmt.Errorf("bare QEMU: %w: %s", err, m.Said())
	}
	var status struct{ Status string }
	err = c.Execute(ctx, "query-status", nil, &status)
	took = report.Now().Sub(begin)
	if err == nil && status.Status != "running" {
		err = fmt.Errorf("bare QEMU is %s: %s", status.Status, m.Said())
	}
	return took, errors.Join(err, c.Close())
}
