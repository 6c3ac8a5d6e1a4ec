package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/bench/internal/process"
)

// bare is what one would start by hand to get the same VM: the same program,
// board, processors, memory, devices, base and seed, less what makes it a part of
// a cloud. Files go by path, QMP is left out, and the network is QEMU's own.
type bare struct {
	dir     string // holds the seed and the disk
	program string
	args    []string // but for the network
	base    string   // a raw file that the disk lies on
	size    int64    // of the disk, in bytes
	blocks  int      // files that were given a path
}

// bareOf takes the command line of a VM that the cloud runs.
func bareOf(ctx context.Context, qemu process.PID, dir string) (*bare, error) {
	program, err := qemu.Program()
	if err != nil {
		return nil, err
	}
	args, err := qemu.Args()
	if err != nil {
		return nil, err
	}
	b := &bare{dir: dir, program: program}
	if err := b.files(ctx, qemu); err != nil {
		return nil, err
	}
	for i := 1; i < len(args); i++ {
		option, value := args[i], ""
		if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			i++
			value = args[i]
		}
		switch {
		case option == "-add-fd", option == "-mon", option == "-name", option == "-netdev",
			option == "-chardev" && strings.HasPrefix(value, "socket,"):
			continue
		case option == "-blockdev":
			if value, err = b.block(value); err != nil {
				return nil, err
			}
		}
		b.args = append(b.args, option)
		if value != "" {
			b.args = append(b.args, value)
		}
	}
	return b, nil
}

// files copies the seed and learns what the disk is made of.
func (b *bare) files(ctx context.Context, qemu process.PID) error {
	seed, err := qemu.Open("seed.iso")
	if err != nil {
		return err
	}
	if err := copyFile(b.seed(), seed); err != nil {
		return err
	}
	disk, err := qemu.Open("disk.qcow2")
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "qemu-img", "info", "-U", "--output=json", disk).Output()
	if err != nil {
		return fmt.Errorf("look at the disk: %w", err)
	}
	var info struct {
		Size int64  `json:"virtual-size"`
		Base string `json:"full-backing-filename"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return err
	}
	b.size, b.base = info.Size, info.Base
	return nil
}

// block puts a path in the place of an inherited file. The base comes first, then
// the disk on it, which alone can be written, then the seed.
func (b *bare) block(text string) (string, error) {
	var node map[string]any
	if err := json.Unmarshal([]byte(text), &node); err != nil {
		return "", err
	}
	if node["driver"] != "file" {
		return text, nil // a format; it names its file by node
	}
	paths := []string{b.base, b.disk(), b.seed()}
	if b.blocks >= len(paths) || (node["read-only"] == false) != (b.blocks == 1) {
		return "", fmt.Errorf("the cloud's QEMU has other disks than expected: %s", text)
	}
	node["filename"] = paths[b.blocks]
	b.blocks++
	made, err := json.Marshal(node)
	return string(made), err
}

func (b *bare) disk() string { return filepath.Join(b.dir, "disk.qcow2") }
func (b *bare) seed() string { return filepath.Join(b.dir, "seed.iso") }

// prepare makes the disk.
func (b *bare) prepare(ctx context.Context) error {
	if err := os.RemoveAll(b.disk()); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", b.base, b.disk(), fmt.Sprint(b.size)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make a disk: %w: %s", err, out)
	}
	return nil
}

// start starts the machine and returns where its SSH will be. The machine ends
// when stop is called.
func (b *bare) start(ctx context.Context) (at netip.AddrPort, stop func(), err error) {
	if at, err = freePort(ctx); err != nil {
		return at, nil, err
	}
	log, err := os.Create(filepath.Join(b.dir, "qemu.log"))
	if err != nil {
		return at, nil, err
	}
	defer log.Close() //nolint:errcheck // QEMU has it by then
	network := fmt.Sprintf("user,id=net0,hostfwd=tcp:%s-:22", at)
	cmd := exec.CommandContext(ctx, b.program, slices.Concat(b.args, []string{"-netdev", network})...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return at, nil, err
	}
	return at, func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // by the signal
	}, nil
}

// said returns what QEMU had to say.
func (b *bare) said() string {
	text, err := os.ReadFile(filepath.Join(b.dir, "qemu.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// freePort returns an address that nothing listens at.
func freePort(ctx context.Context) (netip.AddrPort, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	at, err := netip.ParseAddrPort(l.Addr().String())
	return at, errors.Join(err, l.Close())
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was only read
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
