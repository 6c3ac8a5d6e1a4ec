package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

// Accelerator is how QEMU runs a guest's instructions.
type Accelerator string

// The accelerators. Auto is KVM if it works here, else TCG.
const (
	Auto Accelerator = "auto"
	KVM  Accelerator = "kvm" // by the processor
	TCG  Accelerator = "tcg" // by translation: anywhere, some ten times slower
)

// How long the probe's guest may take to speak. Translating the firmware takes
// half a second on an idle core.
const (
	kvmLimit = 3 * time.Second
	tcgLimit = 45 * time.Second
)

// probeFile keeps what Probe found for the next process.
const probeFile = "probe.json"

// Probe implements hypervisor.Driver.
func (d *Driver) Probe(ctx context.Context) (hypervisor.Facts, error) {
	d.probe.Lock()
	defer d.probe.Unlock()

	if d.probe.facts != nil {
		return *d.probe.facts, nil
	}
	binary, err := d.binary()
	if err != nil {
		return hypervisor.Facts{}, err
	}
	version, err := version(ctx, binary)
	if err != nil {
		return hypervisor.Facts{}, err
	}
	key := d.probeKey(binary, version)
	facts, known := d.remember(key)
	if !known {
		if facts, err = d.choose(ctx, binary); err != nil {
			return hypervisor.Facts{}, err
		}
		facts.Version = version
		d.keep(key, facts)
	}
	d.config.Log.InfoContext(ctx, "hypervisor is usable", "version", facts.Version,
		"accelerator", facts.Accelerator, "reason", facts.Reason, "proved_before", known)
	d.probe.facts = &facts
	return facts, nil
}

// choose returns the accelerator that the configuration asks for and that
// works, and why.
func (d *Driver) choose(ctx context.Context, binary string) (hypervisor.Facts, error) {
	want := d.config.Accelerator
	var trouble string
	if want != TCG {
		err := d.prove(ctx, command{binary, KVM}, kvmLimit)
		if err == nil {
			return hypervisor.Facts{Accelerator: string(KVM), Reason: "a guest ran with KVM"}, nil
		}
		if ctx.Err() != nil {
			return hypervisor.Facts{}, ctx.Err()
		}
		trouble = "KVM does not work here: " + err.Error() + kvmHint()
		if want == KVM {
			return hypervisor.Facts{}, fault.New(fault.Unavailable, trouble)
		}
	}
	if err := d.prove(ctx, command{binary, TCG}, tcgLimit); err != nil {
		if ctx.Err() != nil {
			return hypervisor.Facts{}, ctx.Err()
		}
		return hypervisor.Facts{}, fault.Newf(fault.Unavailable, "QEMU does not run guests here: %v", err)
	}
	if want == TCG {
		trouble = "the configuration asks for TCG"
	}
	return hypervisor.Facts{Accelerator: string(TCG), Reason: trouble}, nil
}

// prove runs a guest that says a few words, in the way that machines are run,
// and returns an error unless they are heard within limit. That KVM can be
// opened proves nothing: there are hosts where its guests never get anywhere.
func (d *Driver) prove(ctx context.Context, c command, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	disk, err := bootDisk()
	if err != nil {
		return err
	}
	defer func() { _ = disk.Close() }()
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()

	cmd := exec.CommandContext(ctx, c.binary, probeLine(c.accel)...)
	confine(cmd, d.config.Users.First, c.accel)
	// Nobody looks for this guest later, so it must not outlive a crash of this
	// process. The signal comes when the thread ends that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	complaint := &head{limit: 4 << 10}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = in, complaint, time.Second
	cmd.ExtraFiles = []*os.File{disk}
	err = cmd.Start()
	if err = errors.Join(err, in.Close()); err != nil {
		return err
	}
	heard, ended := make(chan bool, 1), make(chan struct{})
	go func() { heard <- hear(out, spokenWords) }()
	go func() { _ = cmd.Wait(); close(ended) }()
	select {
	case ok := <-heard: // false: it closed its output
		cancel()
		dead := bereaved(ended)
		switch {
		case ok:
			return nil
		case !dead:
			return errors.New("QEMU closed its output and hangs")
		}
		return errors.New(withWords("QEMU gave up", lastWords(complaint.Bytes())))
	case <-ctx.Done():
		bereaved(ended)
		return fmt.Errorf("a guest said nothing within %v", limit)
	}
}

// bereaved waits for a process that is being killed, and reports false for one
// that the kernel doesn't let go.
func bereaved(ended <-chan struct{}) bool {
	patience := time.NewTimer(2 * time.Second)
	defer patience.Stop()
	select {
	case <-ended:
		return true
	case <-patience.C:
		return false
	}
}

// hear reports whether words come out of r before it ends.
func hear(r io.Reader, words string) bool {
	var all []byte
	part := make([]byte, 4<<10)
	for len(all) < 64<<10 {
		n, err := r.Read(part)
		all = append(all, part[:n]...)
		if bytes.Contains(all, []byte(words)) {
			return true
		}
		if err != nil {
			return false
		}
	}
	return false
}

// head keeps the beginning of what is written to it.
type head struct {
	bytes.Buffer
	limit int
}

// Write takes everything and keeps what there is room for.
func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), h.limit-h.Len())])
	return len(p), nil
}

// binary returns where QEMU is.
func (d *Driver) binary() (string, error) {
	path, err := exec.LookPath(d.config.Binary)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return "", fault.Newf(fault.Unavailable,
			"%s is not installed; run: apt-get install qemu-system-x86 qemu-utils", d.config.Binary)
	}
	if err != nil {
		return "", fault.Newf(fault.Unavailable, "%s can't be run: %v", d.config.Binary, err)
	}
	return path, nil
}

var versionLine = regexp.MustCompile(`version (([0-9]{1,4})\.([0-9]{1,4})[0-9.]{0,16})`)

// version asks QEMU for its version.
func version(ctx context.Context, binary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, talkLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "--version")
	out := &head{limit: 4 << 10}
	cmd.Stdout, cmd.Env, cmd.WaitDelay = out, []string{}, time.Second
	if err := cmd.Run(); err != nil {
		return "", fault.Newf(fault.Unavailable, "%s --version: %v", binary, err)
	}
	m := versionLine.FindSubmatch(out.Bytes())
	if m == nil {
		return "", fault.Newf(fault.Unavailable, "%s does not say its version", binary)
	}
	major, _ := strconv.Atoi(string(m[2])) // digits, by the expression
	minor, _ := strconv.Atoi(string(m[3]))
	if major < 7 || major == 7 && minor < 2 { // 7.2 brought -netdev stream
		return "", fault.Newf(fault.Unavailable, "QEMU 7.2 or newer is needed, %s is %s", binary, m[1])
	}
	return string(m[1]), nil
}

// kvmGroup returns the group that may use KVM.
func kvmGroup() (uint32, error) {
	info, err := os.Stat("/dev/kvm")
	if err != nil {
		return 0, err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&0o060 != 0o060 {
		return 0, os.ErrPermission
	}
	return s.Gid, nil
}

// kvmHint says what to do when machines are not allowed to use KVM.
func kvmHint() string {
	info, err := os.Stat("/dev/kvm")
	if err != nil {
		return ""
	}
	if gid, err := kvmGroup(); info.Mode()&0o006 == 0o006 || err == nil && gid != 0 {
		return ""
	}
	return "; machines may not open /dev/kvm, run: chgrp kvm /dev/kvm && chmod 660 /dev/kvm"
}

// probeKey is everything that the outcome of the probe depends on.
func (d *Driver) probeKey(binary, version string) string {
	boot, _ := bootID() // without one, KVM's state still counts
	kvm := fmt.Sprint(unix.Access("/dev/kvm", unix.R_OK|unix.W_OK))
	if info, err := os.Stat("/dev/kvm"); err == nil {
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			kvm += fmt.Sprintf(" %o %d:%d", s.Mode, s.Uid, s.Gid)
		}
	}
	return fmt.Sprintf("%s|%s|%s|%s|%s|%d", boot, binary, version, d.config.Accelerator, kvm, d.config.Users.First)
}

type proof struct {
	Key   string           `json:"key"`
	Facts hypervisor.Facts `json:"facts"`
}

// remember returns what an earlier process found under the same circumstances.
func (d *Driver) remember(key string) (hypervisor.Facts, bool) {
	var p proof
	text, err := d.root.ReadFile(probeFile)
	if err != nil || json.Unmarshal(text, &p) != nil {
		return hypervisor.Facts{}, false
	}
	return p.Facts, p.Key == key
}

// keep is best effort: without it the next process proves again.
func (d *Driver) keep(key string, f hypervisor.Facts) {
	text, err := json.Marshal(proof{key, f})
	if err == nil {
		err = writeFile(d.root, probeFile, text)
	}
	if err != nil {
		d.config.Log.Warn("cannot keep what the probe found", "error", err)
	}
}
