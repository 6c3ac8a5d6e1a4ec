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
	"slices"
	"strconv"
	"sync"
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

// found is what a proof gave.
type found struct {
	hypervisor.Facts
	Isolated bool `json:"isolated"` // machines get namespaces and a root of their own
	Bounded  bool `json:"bounded"`  // and control groups
}

// Probe implements hypervisor.Driver. What an earlier process has proved is
// believed, unless the host was started again since or something was changed.
func (d *Driver) Probe(ctx context.Context) (hypervisor.Facts, error) {
	f, err := d.find(ctx, d.remember)
	return f.Facts, err
}

// Prove is Probe that believes nobody.
func (d *Driver) Prove(ctx context.Context) (hypervisor.Facts, error) {
	d.probe.Lock()
	d.probe.found = nil
	d.probe.Unlock()
	f, err := d.find(ctx, func(string) (found, bool) { return found{}, false })
	return f.Facts, err
}

// find returns what this process has found, or remember knows, or a proof gives.
func (d *Driver) find(ctx context.Context, remember func(key string) (found, bool)) (found, error) {
	d.probe.Lock()
	defer d.probe.Unlock()

	if d.probe.found != nil {
		return *d.probe.found, nil
	}
	binary, err := d.binary()
	if err != nil {
		return found{}, err
	}
	version, err := version(ctx, binary)
	if err != nil {
		return found{}, err
	}
	key := d.probeKey(binary, version)
	f, known := remember(key)
	if !known {
		f = d.confinement(ctx, binary)
		if f.Facts, err = d.choose(ctx, binary, f); err != nil {
			return found{}, err
		}
		f.Version = version
		d.keep(key, f)
	}
	d.config.Log.InfoContext(ctx, "hypervisor is usable", "version", f.Version,
		"accelerator", f.Accelerator, "reason", f.Reason, "proved_before", known)
	if f.Weaker != "" {
		d.config.Log.WarnContext(ctx, "machines are kept apart less than they could be", "reason", f.Weaker)
	}
	d.probe.found = &f
	return f, nil
}

// choose returns the accelerator that the configuration asks for and that
// works, and why.
func (d *Driver) choose(ctx context.Context, binary string, f found) (hypervisor.Facts, error) {
	want := d.config.Accelerator
	var trouble string
	if want != TCG {
		err := d.prove(ctx, command{binary, KVM, f}, kvmLimit)
		if err == nil {
			return hypervisor.Facts{Accelerator: string(KVM), Reason: "a guest ran with KVM", Limits: f.Limits, Weaker: f.Weaker}, nil
		}
		if ctx.Err() != nil {
			return hypervisor.Facts{}, ctx.Err()
		}
		trouble = "KVM does not work here: " + err.Error() + kvmHint()
		if want == KVM {
			return hypervisor.Facts{}, fault.New(fault.Unavailable, trouble)
		}
	}
	if err := d.prove(ctx, command{binary, TCG, f}, tcgLimit); err != nil {
		if ctx.Err() != nil {
			return hypervisor.Facts{}, ctx.Err()
		}
		return hypervisor.Facts{}, fault.Newf(fault.Unavailable, "QEMU does not run guests here: %v", err)
	}
	if want == TCG {
		trouble = "the configuration asks for TCG"
	}
	return hypervisor.Facts{Accelerator: string(TCG), Reason: trouble, Limits: f.Limits, Weaker: f.Weaker}, nil
}

// prove runs a guest that goes the way of a kernel, see guest.lst, in the way
// that machines are run, and returns an error unless it is through within limit.
// That KVM can be opened proves nothing, nor does a guest that says a word: there
// are hosts that emulate what they can't run, so that kernels seem to hang.
func (d *Driver) prove(ctx context.Context, c command, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	disk, err := guestDisk()
	if err != nil {
		return err
	}
	defer func() { _ = disk.Close() }()
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()

	// Nobody looks for this guest later, so it must not outlive a crash of this
	// process. The signal comes when the thread ends that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd, err := d.cell(d.config.Users.probe(), c).Command(ctx, d.config.Helper, c.binary, probeLine(c.accel)...)
	if err != nil {
		return err
	}
	complaint := &head{limit: 4 << 10}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = in, complaint, time.Second
	cmd.ExtraFiles = []*os.File{disk}
	err = cmd.Start()
	if err = errors.Join(err, in.Close()); err != nil {
		return err
	}
	said, ended := &speech{}, make(chan struct{})
	heard := make(chan bool, 1)
	go func() { heard <- said.hear(out, spokenWords) }()
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
		return errors.New(withWords("QEMU gave up"+said.step(", its guest got as far as %q"), lastWords(complaint.Bytes())))
	case <-ctx.Done():
		bereaved(ended)
		return fmt.Errorf("a guest did not do its work within %v%s", limit, said.step(": it got as far as %q"))
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

// speech is what a guest has said so far.
type speech struct {
	mu   sync.Mutex
	text []byte
}

// hear reports whether words come out of r before it ends.
func (s *speech) hear(r io.Reader, words string) bool {
	part := make([]byte, 4<<10)
	for total := 0; total < 64<<10; {
		n, err := r.Read(part)
		total += n
		s.mu.Lock()
		s.text = append(s.text, part[:n]...)
		found := bytes.Contains(s.text, []byte(words))
		s.mu.Unlock()
		if found {
			return true
		}
		if err != nil {
			return false
		}
	}
	return false
}

// step names the last of its steps that the guest has told of, in the words of
// format; it returns "" for one that told of none.
func (s *speech) step(format string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, step := range slices.Backward(steps) {
		if bytes.Contains(s.text, []byte(step)) {
			return fmt.Sprintf(format, step)
		}
	}
	return ""
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

// kvmDevice is how KVM is reached.
const kvmDevice = "/dev/kvm"

// kvmGroup returns the group that may use the host's KVM.
func kvmGroup() (uint32, error) {
	var info unix.Stat_t
	if err := unix.Stat(kvmDevice, &info); err != nil {
		return 0, err
	}
	if info.Mode&0o060 != 0o060 {
		return 0, os.ErrPermission
	}
	return info.Gid, nil
}

// kvmHint says what to do when machines are not allowed to use KVM. Those of an
// agent that is root get a device of their own.
func kvmHint() string {
	if _, err := os.Stat(kvmDevice); err != nil || os.Getuid() == 0 || unix.Access(kvmDevice, unix.R_OK|unix.W_OK) == nil {
		return ""
	}
	return "; machines may not open /dev/kvm, add the agent's user to its group: usermod -aG kvm USER"
}

// probeKey is everything that the outcome of the probe depends on.
func (d *Driver) probeKey(binary, version string) string {
	boot, _ := bootID() // without one, KVM's state still counts
	kvm := fmt.Sprint(unix.Access(kvmDevice, unix.R_OK|unix.W_OK))
	if info, err := os.Stat(kvmDevice); err == nil {
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			kvm += fmt.Sprintf(" %o %d:%d", s.Mode, s.Uid, s.Gid)
		}
	}
	const guest = 2 // raised when what it does changes
	return fmt.Sprintf("%d|%s|%s|%s|%s|%s|%d|%s|%t", guest, boot, binary, version, d.config.Accelerator, kvm, d.config.Users.probe(), d.groups, d.trouble == nil)
}

type proof struct {
	Key   string `json:"key"`
	Found found  `json:"found"`
}

// remember returns what an earlier process found under the same circumstances.
func (d *Driver) remember(key string) (found, bool) {
	var p proof
	text, err := d.root.ReadFile(probeFile)
	if err != nil || json.Unmarshal(text, &p) != nil {
		return found{}, false
	}
	return p.Found, p.Key == key
}

// keep is best effort: without it the next process proves again.
func (d *Driver) keep(key string, f found) {
	text, err := json.Marshal(proof{key, f})
	if err == nil {
		err = writeFile(d.root, probeFile, text)
	}
	if err != nil {
		d.config.Log.Warn("cannot keep what the probe found", "error", err)
	}
}
