// Package space gives a bench networks of its own, in which it may do as it
// likes: nothing of this machine's network is in them. They are named by open
// files alone, so that the kernel removes them when the bench has ended, however
// it did.
package space

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/network/netns"
)

// entered is the variable by which the program knows that it has a network of its
// own.
const entered = "CPUCLOUD_BENCH_NETWORK"

// Enter starts this program anew, as the same process, in a network that has
// nothing but loopback. It returns nil in that one.
func Enter(ctx context.Context) error {
	if os.Getenv(entered) != "" {
		return Own().Run(ctx, "ip link set lo up")
	}
	if os.Geteuid() != 0 {
		return errors.New("networks of its own can be made by root alone: run this as root")
	}
	runtime.LockOSThread() // its network becomes the program's
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network: %w", err)
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), entered+"=own"))
}

// Space is a network; the zero one is the program's own.
type Space struct{ netns.Namespace }

// Own returns the program's own network.
func Own() Space { return Space{} }

// New makes a network that has nothing but loopback.
func New(ctx context.Context) (Space, error) {
	n, err := netns.New()
	if err != nil {
		return Space{}, err
	}
	return Space{n}, Space{n}.Run(ctx, "ip link set lo up")
}

// Run runs commands inside, their words parted by spaces.
func (s Space) Run(ctx context.Context, commands ...string) error {
	for _, command := range commands {
		words := strings.Fields(command)
		err := s.Do(func() error {
			out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", command, err, out)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Set sets sysctls inside, each "path=value" below /proc/sys/net.
func (s Space) Set(settings ...string) error {
	for _, setting := range settings {
		path, value, _ := strings.Cut(setting, "=")
		err := s.Do(func() error { return os.WriteFile("/proc/sys/net/"+path, []byte(value), 0) })
		if err != nil {
			return err
		}
	}
	return nil
}

// Wire joins the program's own network and s by a cable.
func (s Space) Wire(ctx context.Context, own, inside string) error {
	err := Own().Run(ctx, fmt.Sprintf("ip link add %s type veth peer name %s netns %s", own, inside, s.Path()), "ip link set "+own+" up")
	return errors.Join(err, s.Run(ctx, "ip link set "+inside+" up"))
}

// Tap makes a tap inside and opens the machine's end of it, as the agent does.
func (s Space) Tap(name string) (tap *os.File, err error) {
	err = s.Do(func() error {
		tap, err = openTap(name)
		return err
	})
	return tap, err
}

func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	tap := os.NewFile(uintptr(fd), name)
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open tap %s: %w", name, err), tap.Close())
	}
	return tap, nil
}
