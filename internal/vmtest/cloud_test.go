//go:build vm || vmfull

package vmtest_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
)

// patience is how long a VM may take under software emulation on a host that is
// busy with other things.
const patience = 180 * time.Second

// What `make build image` builds.
const (
	program = "../../bin/cpucloud"
	images  = "../../build/images"
)

// clouds counts the clouds of this process.
var clouds atomic.Uint32

// cloud is `cpucloud up` on a folder of its own.
type cloud struct {
	*testing.T
	data   string
	listen string
	pool   string
	flags  []string       // of `up`, besides
	anna   *client.Client // the demo customer
	key    key            // her SSH key
	up     *exec.Cmd      // nil while it does not run
	ended  chan error
	made   []string // the ids of all VMs that there ever were
}

// newCloud brings up a cloud.
func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := prepare(t)
	c.start()
	return c
}

// prepare returns a cloud that is not up yet, whose addresses are nobody else's.
// It is taken down with the test, and must leave no machine then.
func prepare(t *testing.T) *cloud {
	t.Helper()
	pid, n := os.Getpid(), clouds.Add(1)
	c := &cloud{
		T: t, data: filepath.Join(t.TempDir(), "cloud"), key: newKey(t),
		listen: fmt.Sprintf("127.%d.%d.%d:8080", 192+pid>>8&31, pid&255, n),
		pool:   fmt.Sprintf("127.%d.%d.0/24", 78+pid>>8&15, (pid+int(n))&255),
	}
	t.Cleanup(func() {
		c.down()
		c.until("all of the cloud's processes have ended", func() bool { return len(c.machines()) == 0 })
		if t.Failed() {
			text, _ := os.ReadFile(c.data + ".log")
			t.Logf("the cloud said:\n%s", text[max(0, len(text)-20_000):])
		}
	})
	return c
}

// start runs `up` and returns when it says that it is up.
func (c *cloud) start() {
	c.Helper()
	begin := c.spawn()
	c.until("the cloud is up", func() bool {
		text, err := os.ReadFile(c.data + ".log")
		select {
		case ending := <-c.ended:
			c.up = nil
			c.Fatalf("up ended: %v\n%s", ending, text)
		default:
		}
		return err == nil && bytes.Contains(text[begin:], []byte("Your cloud is up"))
	})
	env := c.environment("demo.env")
	c.anna = client.New(env["CPUCLOUD_URL"], env["CPUCLOUD_API_KEY"])
}

// spawn starts the process `up` and returns where in the log it begins.
func (c *cloud) spawn() (begin int64) {
	c.Helper()
	log, err := os.OpenFile(c.data+".log", os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		c.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // the child has it
	begin, err = log.Seek(0, io.SeekEnd)
	if err != nil {
		c.Fatal(err)
	}
	c.up = exec.Command(program, append([]string{
		"up", "--data", c.data, "--listen", c.listen, "--images", images,
		"--pool", c.pool, "--storage", "1000", "--ram", "64", "--vcpu", "32",
	}, c.flags...)...)
	c.up.Stderr = log
	if err := c.up.Start(); err != nil {
		c.Fatalf("start up: %v", err)
	}
	ended := make(chan error, 1)
	go func(cmd *exec.Cmd) { ended <- cmd.Wait() }(c.up)
	c.ended = ended
	return begin
}

// end sends `up` a signal and waits until it has ended.
func (c *cloud) end(signal syscall.Signal) error {
	c.Helper()
	if c.up == nil {
		return nil
	}
	if err := c.up.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.Fatalf("end up: %v", err)
	}
	c.up = nil
	return <-c.ended
}

// restart kills `up` as a crash does and starts it again.
func (c *cloud) restart() {
	c.Helper()
	if err := c.end(syscall.SIGKILL); err == nil {
		c.Error("up ended by itself")
	}
	c.start()
}

// down runs `cpucloud down`, which ends the cloud with all its VMs.
func (c *cloud) down() {
	c.Helper()
	out, err := exec.Command(program, "down", "--data", c.data).CombinedOutput()
	if err != nil {
		c.Errorf("down: %v: %s", err, out)
	}
	if c.up != nil {
		if err := <-c.ended; err != nil {
			c.Errorf("up ended with %v after down", err)
		}
		c.up = nil
	}
}

// environment reads demo.env or admin.env, as a shell does.
func (c *cloud) environment(name string) map[string]string {
	c.Helper()
	text, err := os.ReadFile(filepath.Join(c.data, name))
	if err != nil {
		c.Fatal(err)
	}
	env := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if name, value, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "="); ok {
			env[name] = value
		}
	}
	return env
}

// wish is the deployment of one VM of the smallest size.
func (c *cloud) wish(name, image string) client.Deployment {
	return client.Deployment{
		Constraints: client.Constraints{BasicConfiguration: "cpu-2-ram-4gb-storage-25gb"}, Instances: 1,
		VM: client.VMConfiguration{Name: name, OSImage: "http://" + c.listen + "/images/" + image, SSHKeys: []string{c.key.line}},
	}
}

const demoImage = "cpucloud-demo.qcow2"

func (c *cloud) deploy(d client.Deployment) (id string) {
	c.Helper()
	made, err := c.anna.Deploy(c.Context(), d)
	if err != nil {
		c.Fatalf("deploy %s: %v", d.VM.Name, err)
	}
	c.made = append(c.made, made[0].ID)
	return made[0].ID
}

// reach waits until a VM has a status and returns it.
func (c *cloud) reach(id, status string) client.VM {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	v, err := c.anna.WaitVM(ctx, id, status)
	if err != nil || v.Status != status {
		c.Fatalf("VM %s is %s (%s), want %s: %v\n%v", v.Name, v.Status, v.Reason, status, err, v.Timeline)
	}
	return v
}

// remove deletes VMs, and keeps nothing of them.
func (c *cloud) remove(ids ...string) {
	c.Helper()
	for _, id := range ids {
		if _, err := c.anna.DeleteVM(c.Context(), id, true); err != nil {
			c.Fatalf("delete: %v", err)
		}
	}
}

// ports replaces the open TCP ports of a VM.
func (c *cloud) ports(id string, numbers ...int) {
	c.Helper()
	ports := []client.Port{}
	for _, n := range numbers {
		ports = append(ports, client.Port{Port: n, Protocol: "tcp"})
	}
	if err := c.anna.UpdateVMs(c.Context(), client.Update{ID: id, Ports: ports}); err != nil {
		c.Fatalf("update: %v", err)
	}
}

// purse returns what the customer has: free, reserved.
func (c *cloud) purse() [2]string {
	c.Helper()
	a, err := c.anna.Account(c.Context())
	if err != nil {
		c.Fatalf("account: %v", err)
	}
	return [2]string{a.Balance, a.Reserved}
}

// until waits until cond holds.
func (c *cloud) until(what string, cond func() bool) {
	c.Helper()
	deadline, tick := time.NewTimer(patience), time.NewTicker(50*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			c.Fatalf("not within %s: %s", patience, what)
		}
	}
}
