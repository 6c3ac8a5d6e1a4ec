package servertest_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/agent"
	networkfake "github.com/cpucloud/cpucloud/internal/network/fake"
	"github.com/cpucloud/cpucloud/internal/server"
	"github.com/cpucloud/cpucloud/internal/servertest"
)

// The test binary is also the processes that a test kills. What they are to be
// is in their environment.
const (
	roleVariable   = "CPUCLOUD_TEST_ROLE"
	dirVariable    = "CPUCLOUD_TEST_DIR"
	listenVariable = "CPUCLOUD_TEST_LISTEN"
	hostVariable   = "CPUCLOUD_TEST_HOST"
)

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	go func() { // it must not outlive the test
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := play(role, log); err != nil {
		log.Error("process ended", "role", role, "error", err)
		os.Exit(1)
	}
}

// play runs a control plane or an agent until the process is killed.
func play(role string, log *slog.Logger) error {
	ctx, dir, listen := context.Background(), os.Getenv(dirVariable), os.Getenv(listenVariable)
	if role == "control" {
		s, err := server.Start(ctx, servertest.ServerConfig(dir, listen, log))
		if err != nil {
			return err
		}
		return <-s.Failed()
	}
	disks, err := servertest.OpenDisks(dir, "http://"+listen, log)
	if err != nil {
		return err
	}
	host := remote(os.Getenv(hostVariable))
	config := servertest.AgentConfig(dir, "http://"+listen, machines{host}, links{host, networkfake.New(networkfake.NewHost())}, log)
	config.Disks = disks
	return agent.New(config).Run(ctx)
}

// process is one that is killed and started again.
type process struct {
	t    *testing.T
	args []string
	env  []string
	log  *os.File
	role string

	mu    sync.Mutex
	cmd   *exec.Cmd
	stdin io.Closer
	kills int
}

func newProcess(t *testing.T, role string, env ...string) *process {
	t.Helper()
	return newProcessUnder(t, nil, role, env...)
}

// newProcessUnder is newProcess as the child of another program.
func newProcessUnder(t *testing.T, parent []string, role string, env ...string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, role: role, log: log, args: append(parent, os.Args[0]), env: append(env, roleVariable+"="+role, "PATH="+os.Getenv("PATH"))}
	p.start()
	t.Cleanup(func() {
		p.kill()
		text, _ := os.ReadFile(log.Name())
		if t.Failed() {
			t.Logf("%s:\n%s", role, text[max(0, len(text)-20_000):])
		}
		_ = log.Close()
		if bytes.Contains(text, []byte("panic:")) {
			t.Errorf("%s panicked:\n%s", role, text)
		}
	})
	return p
}

func (p *process) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	p.cmd.Env, p.cmd.Stderr = p.env, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a parent is killed with its child
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		p.t.Errorf("start %s: %v", p.role, err)
	}
}

// revive starts the process again if it has ended.
func (p *process) revive() {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err == nil && info.Signo != 0 {
		p.kill()
		p.start()
	}
}

// killed returns how often the process was killed.
func (p *process) killed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kills
}

// kill kills the process as the kernel does when it has no memory left, and
// returns when it is gone.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
	p.cmd = nil
	p.kills++
}
