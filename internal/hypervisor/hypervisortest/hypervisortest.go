// Package hypervisortest is the contract of hypervisor.Driver as tests. Every
// driver passes them.
package hypervisortest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

// Fixture is a host to try a driver on. Each test gets one of its own, and
// destroys all machines at its end.
type Fixture struct {
	// Open returns a new driver over the host, as after a restart of the agent.
	Open func(t *testing.T) hypervisor.Driver
	// Kill ends the process of machine id behind the driver's back.
	Kill func(t *testing.T, id string)
	// Processes names the processes of machine id, each by a name that no
	// other process ever has.
	Processes func(t *testing.T, id string) []string
	// Content returns what is on the disk that a backup has written to the file at path.
	Content func(t *testing.T, path string) []byte
}

// Run tries the driver of the hosts that newFixture makes.
func Run(t *testing.T, newFixture func(t *testing.T) Fixture) {
	t.Helper()
	tests := map[string]func(*host){
		"ProbeKnowsItself":                  (*host).probeKnowsItself,
		"EnsureTwiceIsOneMachine":           (*host).ensureTwiceIsOneMachine,
		"EnsureAtOnceIsOneMachine":          (*host).ensureAtOnceIsOneMachine,
		"ListIsCompleteAndSorted":           (*host).listIsCompleteAndSorted,
		"NewDriverFindsMachines":            (*host).newDriverFindsMachines,
		"ObedientGuestPowersOff":            (*host).obedientGuestPowersOff,
		"DeafGuestGoesOn":                   (*host).deafGuestGoesOn,
		"ShutdownOfNothingIsNoError":        (*host).shutdownOfNothingIsNoError,
		"ResetKeepsTheMachine":              (*host).resetKeepsTheMachine,
		"ResetOfNothingIsNoError":           (*host).resetOfNothingIsNoError,
		"DestroyEndsAndForgets":             (*host).destroyEndsAndForgets,
		"DestroyOfNothingIsNoError":         (*host).destroyOfNothingIsNoError,
		"DeadMachineIsListedAndRestarted":   (*host).deadMachineIsListedAndRestarted,
		"DeadMachineCanBeDestroyed":         (*host).deadMachineCanBeDestroyed,
		"ConsoleIsHeldByMany":               (*host).consoleIsHeldByMany,
		"ConsoleEndsWithTheMachine":         (*host).consoleEndsWithTheMachine,
		"UsageIsThatOfARun":                 (*host).usageIsThatOfARun,
		"BackupOfARunningMachine":           (*host).backupOfARunningMachine,
		"BackupOfAMachineThatIsOff":         (*host).backupOfAMachineThatIsOff,
		"BackupThatIsGivenUp":               (*host).backupThatIsGivenUp,
		"BackupsThatCannotBe":               (*host).backupsThatCannotBe,
		"CardIsHandedOver":                  (*host).cardIsHandedOver,
		"BadNamesAreRefused":                (*host).badNamesAreRefused,
		"BadMachinesAreRefused":             (*host).badMachinesAreRefused,
		"MachineThatCannotStartIsExplained": (*host).machineThatCannotStartIsExplained,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &host{Fixture: newFixture(t), t: t, folder: t.TempDir()}
			h.driver = h.Open(t)
			t.Cleanup(func() { h.clear(t) })
			test(h)
		})
	}
}

func (h *host) probeKnowsItself() {
	t := h.t
	first, err := h.driver.Probe(t.Context())
	if err != nil {
		t.Fatalf("Probe: %v", err)
	}
	if first.Version == "" || first.Reason == "" || first.Accelerator != "kvm" && first.Accelerator != "tcg" {
		t.Errorf("Probe = %+v, want version, reason, and kvm or tcg", first)
	}
	again, err := h.driver.Probe(t.Context())
	if err != nil || again != first {
		t.Errorf("second Probe = %+v, %v, want %+v", again, err, first)
	}
}

func (h *host) ensureTwiceIsOneMachine() {
	t := h.t
	h.ensure(t, "a")
	first := h.Processes(t, "a")
	h.ensure(t, "a")

	// A running machine is left alone, whatever is asked of it.
	err := h.driver.Ensure(t.Context(), hypervisor.Machine{ID: "a", VCPU: 99})
	if err != nil {
		t.Errorf("Ensure of a running machine with other wishes: %v", err)
	}
	if got := h.Processes(t, "a"); len(got) != 1 || !slices.Equal(got, first) {
		t.Errorf("processes = %v, want the one of before %v", got, first)
	}
	h.wantList(t, "a running")
}

func (h *host) ensureAtOnceIsOneMachine() {
	t := h.t
	var all sync.WaitGroup
	for range 4 {
		m := h.machine(t, "a")
		all.Go(func() {
			if err := h.driver.Ensure(t.Context(), m); err != nil {
				t.Errorf("Ensure: %v", err)
			}
		})
	}
	all.Wait()
	if got := h.Processes(t, "a"); len(got) != 1 {
		t.Errorf("processes = %v, want one", got)
	}
}

func (h *host) listIsCompleteAndSorted() {
	t := h.t
	h.wantList(t)
	h.ensure(t, "b")
	h.ensure(t, "A")
	h.wantList(t, "A running", "b running")
	for _, in := range h.list(t) {
		if in.Started.IsZero() || in.Reason != "" {
			t.Errorf("%+v, want a start and no reason", in)
		}
	}
}

func (h *host) newDriverFindsMachines() {
	t := h.t
	h.ensure(t, "a")
	before, processes := h.list(t), h.Processes(t, "a")

	h.driver = h.Open(t)
	after := h.list(t)
	same := func(x, y hypervisor.Instance) bool { return x.ID == y.ID && x.Started.Equal(y.Started) }
	if !slices.EqualFunc(after, before, same) {
		t.Errorf("list = %+v, want %+v", after, before)
	}
	h.ensure(t, "a")
	if got := h.Processes(t, "a"); len(got) != 1 || !slices.Equal(got, processes) {
		t.Errorf("processes = %v, want still %v", got, processes)
	}
	h.destroy(t, "a")
	if got := h.Processes(t, "a"); len(got) != 0 {
		t.Errorf("processes = %v after Destroy by a new driver, want none", got)
	}
}

func (h *host) destroyEndsAndForgets() {
	t := h.t
	h.ensure(t, "a")
	h.ensure(t, "b")
	h.destroy(t, "a")
	h.wantList(t, "b running")
	if got := h.Processes(t, "a"); len(got) != 0 {
		t.Errorf("processes = %v after Destroy, want none", got)
	}
	h.ensure(t, "a") // the name is free, and so are the disks
	h.destroy(t, "b")
	h.ensure(t, "b")
	h.wantList(t, "a running", "b running")
}

func (h *host) destroyOfNothingIsNoError() {
	t := h.t
	h.destroy(t, "a")
	h.ensure(t, "a")
	h.destroy(t, "a")
	h.destroy(t, "a")
	h.wantList(t)
}

func (h *host) deadMachineIsListedAndRestarted() {
	t := h.t
	h.ensure(t, "a")
	first := h.Processes(t, "a")
	h.Kill(t, "a")
	h.await(t, "a exited")
	if in := h.list(t)[0]; in.Reason == "" || !in.Started.IsZero() {
		t.Errorf("dead machine = %+v, want a reason and no start", in)
	}
	h.ensure(t, "a")
	h.wantList(t, "a running")
	if got := h.Processes(t, "a"); len(got) != 1 || slices.Equal(got, first) {
		t.Errorf("processes = %v, want one that isn't %v", got, first)
	}
}

func (h *host) deadMachineCanBeDestroyed() {
	t := h.t
	h.ensure(t, "a")
	h.Kill(t, "a")
	h.await(t, "a exited")
	h.destroy(t, "a")
	h.wantList(t)
}

// cardIsHandedOver follows the plug: closed here once Ensure returns, open at
// the machine as long as that lives.
func (h *host) cardIsHandedOver() {
	t := h.t
	m := h.machine(t, "a")
	near, far := h.socket(t)
	_ = m.NIC.File.Close()
	m.NIC.File = near
	h.start(t, m)
	if _, err := near.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Ensure the card's file says %v, want %v", err, os.ErrClosed)
	}
	if err := readFor(far, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the other end says %v while the machine runs, want silence or frames", err)
	}
	again := h.machine(t, "a")
	h.start(t, again)
	if _, err := again.NIC.File.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after a needless Ensure the card's file says %v, want %v", err, os.ErrClosed)
	}
	h.destroy(t, "a")
	if err := readFor(far, 10*time.Second); err != nil && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the other end says %v after Destroy, want its end", err)
	}
}

// readFor reads until the end, or an error, which comes at the latest after d.
func readFor(c net.Conn, d time.Duration) error {
	end := time.AfterFunc(d, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer func() { end.Stop(); _ = c.SetReadDeadline(time.Time{}) }()
	_, err := io.Copy(io.Discard, c)
	return err
}

func (h *host) badNamesAreRefused() {
	t := h.t
	bad := []string{"", ".", "..", "a/b", "../a", "a,b", "a b", "a=b", "a\n", "ä", "a\x00", strings.Repeat("a", 65)}
	for _, id := range bad {
		m := h.machine(t, id)
		if err := h.driver.Ensure(t.Context(), m); !fault.Is(err, fault.Invalid) {
			t.Errorf("Ensure of %q = %v, want an Invalid fault", id, err)
		}
		if _, err := m.NIC.File.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("after a refused Ensure the card's file says %v, want %v", err, os.ErrClosed)
		}
		if err := h.driver.Shutdown(t.Context(), id); !fault.Is(err, fault.Invalid) {
			t.Errorf("Shutdown of %q = %v, want an Invalid fault", id, err)
		}
		if err := h.driver.Reset(t.Context(), id); !fault.Is(err, fault.Invalid) {
			t.Errorf("Reset of %q = %v, want an Invalid fault", id, err)
		}
		if err := h.driver.Destroy(t.Context(), id); !fault.Is(err, fault.Invalid) {
			t.Errorf("Destroy of %q = %v, want an Invalid fault", id, err)
		}
		if _, err := h.driver.Console(t.Context(), id); !fault.Is(err, fault.Invalid) {
			t.Errorf("Console of %q = %v, want an Invalid fault", id, err)
		}
		if _, err := h.driver.Attach(t.Context(), id); !fault.Is(err, fault.Invalid) {
			t.Errorf("Attach to %q = %v, want an Invalid fault", id, err)
		}
	}
	h.wantList(t)
	h.ensure(t, "0x"+strings.Repeat("aB-9", 15)+"-Z")
}

func (h *host) badMachinesAreRefused() {
	t := h.t
	bad := map[string]func(m *hypervisor.Machine){
		"no vCPU":              func(m *hypervisor.Machine) { m.VCPU = 0 },
		"no memory":            func(m *hypervisor.Machine) { m.RAMGiB = -1 },
		"no disk":              func(m *hypervisor.Machine) { m.Disks = nil },
		"relative path":        func(m *hypervisor.Machine) { m.Disks[0].Path = "disk" },
		"no format":            func(m *hypervisor.Machine) { m.Disks[0].Format = "" },
		"unknown format":       func(m *hypervisor.Machine) { m.Disks[0].Format = "vmdk" },
		"raw on something":     func(m *hypervisor.Machine) { m.Disks[0].Backing = &m.Disks[0] },
		"no plug":              func(m *hypervisor.Machine) { m.NIC.Kind = "" },
		"address of a group":   func(m *hypervisor.Machine) { m.NIC.MAC = "53:54:00:00:00:01" },
		"address with a comma": func(m *hypervisor.Machine) { m.NIC.MAC = "52:54:00:00:00:01,id=x" },
	}
	for name, spoil := range bad {
		m := h.machine(t, "a")
		spoil(&m)
		if err := h.driver.Ensure(t.Context(), m); !fault.Is(err, fault.Invalid) {
			t.Errorf("Ensure with %s = %v, want an Invalid fault", name, err)
		}
	}
	h.wantList(t)
}

func (h *host) machineThatCannotStartIsExplained() {
	t := h.t
	m := h.machine(t, "a")
	m.Disks[0].Path += ".missing"
	if err := h.driver.Ensure(t.Context(), m); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Ensure without the disk's file = %v, want %v", err, os.ErrNotExist)
	}
	h.wantList(t, "a exited")
	if in := h.list(t)[0]; in.Reason == "" {
		t.Errorf("%+v, want a reason", in)
	}
	h.ensure(t, "a")
	h.wantList(t, "a running")
}

// host is a fixture in use by one test.
type host struct {
	Fixture
	t      *testing.T
	driver hypervisor.Driver
	folder string
}

// machine returns a small machine that starts, with an empty disk.
func (h *host) machine(t *testing.T, id string) hypervisor.Machine {
	t.Helper()
	near, _ := h.socket(t)
	return Machine(t, h.folder, id, near)
}

// Machine returns a small machine that starts: its empty disk is in folder,
// its card is plugged into the stream socket nic.
func Machine(t *testing.T, folder, id string, nic *os.File) hypervisor.Machine {
	t.Helper()
	path := filepath.Join(folder, "disk")
	if hypervisor.CheckID(id) == nil {
		path += "-" + id
	}
	disk, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(disk.Truncate(1<<20), disk.Close()); err != nil {
		t.Fatal(err)
	}
	return hypervisor.Machine{
		ID: id, VCPU: 1, RAMGiB: 1,
		Disks: []hypervisor.Disk{{Path: path, Format: hypervisor.Raw}},
		NIC:   hypervisor.NIC{MAC: "52:54:00:00:00:01", Kind: hypervisor.Stream, File: nic},
	}
}

// socket returns a plug and what it is plugged into, which stays open until
// the end of the test.
func (h *host) socket(t *testing.T) (*os.File, net.Conn) {
	t.Helper()
	near, far, err := Socket()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

// Socket returns a stream plug and what it is plugged into.
func Socket() (*os.File, net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	other := os.NewFile(uintptr(fds[1]), "plug")
	defer func() { _ = other.Close() }()
	far, err := net.FileConn(other)
	return os.NewFile(uintptr(fds[0]), "plug"), far, err
}

func (h *host) ensure(t *testing.T, id string) {
	t.Helper()
	h.start(t, h.machine(t, id))
}

func (h *host) start(t *testing.T, m hypervisor.Machine) {
	t.Helper()
	if err := h.driver.Ensure(t.Context(), m); err != nil {
		t.Fatalf("Ensure %s: %v", m.ID, err)
	}
}

func (h *host) destroy(t *testing.T, id string) {
	t.Helper()
	if err := h.driver.Destroy(t.Context(), id); err != nil {
		t.Fatalf("Destroy %s: %v", id, err)
	}
}

func (h *host) list(t *testing.T) []hypervisor.Instance {
	t.Helper()
	list, err := h.driver.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	return list
}

// states returns the list as "id state" each.
func (h *host) states(t *testing.T) []string {
	t.Helper()
	states := []string{}
	for _, in := range h.list(t) {
		states = append(states, in.ID+" "+string(in.State))
	}
	return states
}

func (h *host) wantList(t *testing.T, want ...string) {
	t.Helper()
	if got := h.states(t); !slices.Equal(got, want) {
		t.Errorf("list = %q, want %q", got, want)
	}
}

// await waits for the list to become want.
func (h *host) await(t *testing.T, want ...string) {
	t.Helper()
	Await(t, func() bool { return slices.Equal(h.states(t), want) })
}

// Await waits until it holds, for at most half a minute.
func Await(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 6000 {
		if holds() {
			return
		}
		<-tick.C
	}
	t.Fatal("it doesn't come to pass")
}

// clear destroys what a test has left, which mustn't outlive it.
func (h *host) clear(t *testing.T) {
	t.Helper()
	Clear(t, h.driver)
}

// Clear destroys all machines of a driver.
func Clear(t *testing.T, d hypervisor.Driver) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // it has ended
	list, err := d.List(ctx)
	if err != nil {
		t.Errorf("List: %v", err)
	}
	for _, in := range list {
		if err := d.Destroy(ctx, in.ID); err != nil {
			t.Errorf("Destroy %s: %v", in.ID, err)
		}
	}
}
