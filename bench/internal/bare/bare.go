// Package bare runs what one would start by hand to get the same VM as a cloud's:
// the same program, board, processors, memory, devices, base and seed, less what
// makes it a part of a cloud. Files and sockets go by path, QMP is left out unless
// the bench needs it, and the network is the bench's.
package bare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/bench/internal/process"
)

// The files in a machine's folder.
const (
	diskFile = "disk.qcow2"
	seedFile = "seed.iso"
	logFile  = "qemu.log"
	qmpName  = "qmp"    // of the socket
	console  = "serial" // likewise
)

// Machine is a bare QEMU that can be started again and again.
type Machine struct {
	dir     string
	program string
	args    []string // but for the network; files in dir go by their names
	base    string   // a raw file that the disk lies on
	size    int64    // of the disk, in bytes
	blocks  int      // files that were given a path
}

// Of takes the command line of a VM that a cloud runs, and copies its seed into
// the folder dir.
func Of(ctx context.Context, qemu process.PID, dir string) (*Machine, error) {
	program, err := qemu.Program()
	if err != nil {
		return nil, err
	}
	args, err := qemu.Args()
	if err != nil {
		return nil, err
	}
	m := &Machine{dir: dir, program: program}
	if err := m.files(ctx, qemu); err != nil {
		return nil, err
	}
	return m, m.take(args[1:])
}

// take keeps of the arguments of a cloud's QEMU what a bare one has too.
func (m *Machine) take(args []string) (err error) {
	for i := 0; i < len(args); i++ {
		option, value := args[i], ""
		if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			i++
			value = args[i]
		}
		switch {
		case option == "-add-fd", option == "-mon", option == "-name", option == "-netdev",
			option == "-chardev" && strings.HasPrefix(value, "socket,id="+qmpName+","):
			continue
		case option == "-chardev" && strings.HasPrefix(value, "socket,"):
			value = socket(value)
		case option == "-blockdev":
			if value, err = m.block(value); err != nil {
				return err
			}
		}
		m.args = append(m.args, option)
		if value != "" {
			m.args = append(m.args, value)
		}
	}
	return nil
}

// socket puts a path, its id, in the place of an inherited socket.
func socket(value string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(value, "socket,id="), ",")
	return fmt.Sprintf("socket,id=%s,path=%s,server=on,wait=off", id, id)
}

// files copies the seed and learns what the disk is made of.
func (m *Machine) files(ctx context.Context, qemu process.PID) error {
	seed, err := qemu.Open(seedFile)
	if err != nil {
		return err
	}
	if err := copyFile(filepath.Join(m.dir, seedFile), seed); err != nil {
		return err
	}
	disk, err := qemu.Open(diskFile)
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
	m.size, m.base = info.Size, info.Base
	return nil
}

// block puts a path in the place of an inherited file. The base comes first, then
// the disk on it, which alone can be written, then the seed.
func (m *Machine) block(text string) (string, error) {
	var node map[string]any
	if err := json.Unmarshal([]byte(text), &node); err != nil {
		return "", err
	}
	if node["driver"] != "file" {
		return text, nil // a format; it names its file by node
	}
	paths := []string{m.base, diskFile, seedFile}
	if m.blocks >= len(paths) || (node["read-only"] == false) != (m.blocks == 1) {
		return "", fmt.Errorf("the cloud's QEMU has other disks than expected: %s", text)
	}
	node["filename"] = paths[m.blocks]
	m.blocks++
	made, err := json.Marshal(node)
	return string(made), err
}

// In returns a machine like m in another folder, with the same seed.
func (m *Machine) In(dir string) (*Machine, error) {
	other := *m
	other.dir = dir
	return &other, copyFile(filepath.Join(dir, seedFile), filepath.Join(m.dir, seedFile))
}

// Prepare makes the disk.
func (m *Machine) Prepare(ctx context.Context) error {
	disk := filepath.Join(m.dir, diskFile)
	if err := os.RemoveAll(disk); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", m.base, disk, fmt.Sprint(m.size)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make a disk: %w: %s", err, out)
	}
	return nil
}

// Start starts the machine with its card, which it closes here. The machine ends
// when stop is called.
func (m *Machine) Start(ctx context.Context, card Card) (stop func(), err error) {
	defer card.Close()
	p, err := m.run(ctx, []string{"-netdev", card.Netdev + ",id=net0"}, card.Files...)
	if err != nil {
		return nil, err
	}
	return p.stop, nil
}

// child is a QEMU that was started.
type child struct {
	ended <-chan struct{}
	stop  func() // ends it, and what was made for it
}

func (m *Machine) run(ctx context.Context, more []string, files ...*os.File) (*child, error) {
	log, err := os.Create(filepath.Join(m.dir, logFile))
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // QEMU has it by then
	cmd := exec.CommandContext(ctx, m.program, slices.Concat(m.args, more)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = m.dir, log, log, files
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // by a signal, or as its guest wished
		close(ended)
	}()
	end := func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
	}
	leave, err := m.bound(ctx, cmd.Process.Pid)
	if err != nil {
		end()
		return nil, err
	}
	return &child{ended, func() { end(); leave() }}, nil
}

// Said returns what QEMU had to say.
func (m *Machine) Said() string {
	text, err := os.ReadFile(filepath.Join(m.dir, logFile))
	if err != nil {
		return err.Error()
	}
	return string(text)
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
