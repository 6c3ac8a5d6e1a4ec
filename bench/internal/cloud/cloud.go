// Package cloud starts a `cpucloud up` of its own for a bench to measure.
package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/login"
	"github.com/cpucloud/cpucloud/bench/internal/process"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/bench/internal/space"
	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/market"
)

const (
	startWithin = 2 * time.Minute
	stopWithin  = time.Minute
	bootWithin  = 10 * time.Minute
	lookEvery   = 50 * time.Millisecond
)

// Config says what cloud is started.
type Config struct {
	Binary string
	Images string   // folder of disk images
	Flags  []string // more of `cpucloud up`

	Space space.Space // where it runs
	Host  string      // by which it is reached from the bench, "" for the one that it says
}

// Cloud is a cloud that runs.
type Cloud struct {
	*client.Client
	PID process.PID

	config Config
	dir    string
	log    string // what it says
	ended  chan struct{}
}

// Start starts a cloud and returns once it says that it is up. It has room for
// more VMs than one would start.
func Start(ctx context.Context, config Config) (_ *Cloud, err error) {
	c := &Cloud{config: config, ended: make(chan struct{})}
	if c.config.Binary, err = filepath.Abs(config.Binary); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "cpucloud-bench."); err != nil {
		return nil, err
	}
	c.log = c.path("up.log")
	if err := config.Space.Do(func() error { return c.run(ctx) }); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	if err := c.ready(ctx); err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return c, nil
}

// Loopback returns the flags of a cloud whose VMs are within 127.0.0.0/8.
func Loopback() []string {
	return []string{"--listen", "127.0.0.1:0", "--pool", fmt.Sprintf("127.79.%d.0/24", rand.N(256))}
}

func (c *Cloud) run(ctx context.Context) error {
	log, err := os.Create(c.log)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the cloud has it by then
	args := []string{"up", "--data", c.path("cloud"), "--images", c.config.Images, "--vcpu", "64", "--ram", "128", "--storage", "2000"}
	// Close ends it, by `down`; a cancelled context would leave its VMs.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), c.config.Binary, append(args, c.config.Flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the bench, which takes it down in order
	if err := cmd.Start(); err != nil {
		return err
	}
	c.PID = process.PID(cmd.Process.Pid)
	go func() {
		_ = cmd.Wait() // its exit status says nothing that the figures don't
		close(c.ended)
	}()
	return nil
}

// ready waits until the cloud is up.
func (c *Cloud) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		log, err := os.ReadFile(c.log)
		if err != nil {
			return err
		}
		if bytes.Contains(log, []byte("Your cloud is up")) {
			break
		}
		if !c.PID.Alive() {
			return fmt.Errorf("the cloud ended: %s", log)
		}
		if err := report.Pause(ctx, lookEvery); err != nil {
			return fmt.Errorf("wait for the cloud: %w: %s", err, log)
		}
	}
	text, err := os.ReadFile(c.path("cloud", "demo.env"))
	if err != nil {
		return err
	}
	env := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		env[key] = value
	}
	at, err := url.Parse(env["CPUCLOUD_URL"])
	if err != nil {
		return err
	}
	if c.config.Host != "" {
		at.Host = net.JoinHostPort(c.config.Host, at.Port())
	}
	c.Client = client.New(at.String(), env["CPUCLOUD_API_KEY"])
	return nil
}

// Close takes the cloud and its VMs down and removes all that it kept, though
// ctx may be done.
func (c *Cloud) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	err := c.config.Space.Do(func() error {
		out, err := exec.CommandContext(ctx, c.config.Binary, "down", "--data", c.path("cloud")).CombinedOutput()
		if err != nil {
			return fmt.Errorf("take the cloud down: %w: %s", err, out)
		}
		return nil
	})
	select {
	case <-c.ended:
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("process %d did not end", c.PID), syscall.Kill(int(c.PID), syscall.SIGKILL))
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

func (c *Cloud) path(name ...string) string {
	return filepath.Join(append([]string{c.dir}, name...)...)
}

// Image returns the small image that comes with the cloud.
func (c *Cloud) Image(ctx context.Context) (client.Image, error) {
	images, err := c.DefaultImages(ctx)
	if err != nil {
		return client.Image{}, err
	}
	for _, i := range images {
		if i.Slug == "cpucloud-demo" {
			return i, nil
		}
	}
	return client.Image{}, errors.New("the cloud does not offer the image cpucloud-demo: make image")
}

// Deployment asks for VMs of the smallest configuration.
func Deployment(name, image, key string, instances int) client.Deployment {
	return client.Deployment{
		Constraints: client.Constraints{BasicConfiguration: market.Configurations()[0].Slug()},
		Instances:   instances,
		VM:          client.VMConfiguration{Name: name, Hostname: login.Hostname, OSImage: image, SSHKeys: []string{key}},
	}
}

// Active waits until a VM is active.
func (c *Cloud) Active(ctx context.Context, id string) (client.VM, error) {
	ctx, cancel := context.WithTimeout(ctx, bootWithin)
	defer cancel()
	v, err := c.WaitVM(ctx, id, client.StatusActive)
	if err == nil && v.Status != client.StatusActive {
		err = fmt.Errorf("vm %s is %s: %s", id, v.Status, v.Reason)
	}
	return v, err
}

// QEMU returns the process that runs a VM.
func (c *Cloud) QEMU(id string) (process.PID, error) { return process.WithArgument("guest=" + id) }

// Delete deletes a VM and waits until its process is gone.
func (c *Cloud) Delete(ctx context.Context, id string) error {
	qemu, err := c.QEMU(id)
	if err != nil {
		return err
	}
	if _, err := c.DeleteVM(ctx, id, true); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	for qemu.Alive() {
		if err := report.Pause(ctx, lookEvery); err != nil {
			return fmt.Errorf("wait for the end of process %d: %w", qemu, err)
		}
	}
	return nil
}
