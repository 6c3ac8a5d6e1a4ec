package qemu_test

import (
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
)

func driver(t *testing.T, c qemu.Config) *qemu.Driver {
	t.Helper()
	c.Now, c.Log = time.Now, slog.New(slog.DiscardHandler)
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	d, err := qemu.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestAutoChoosesWhatWorks runs on hosts with and without KVM.
func TestAutoChoosesWhatWorks(t *testing.T) {
	t.Parallel()
	facts, err := driver(t, qemu.Config{}).Probe(t.Context())
	if err != nil {
		t.Fatalf("Probe: %v", err)
	}
	want := map[string]string{"kvm": "a guest ran with KVM", "tcg": "KVM does not work here: "}[facts.Accelerator]
	if want == "" || !strings.HasPrefix(facts.Reason, want) {
		t.Errorf("Probe = %+v, want a reason that begins with %q", facts, want)
	}
	if !strings.HasPrefix(facts.Version, "7.") && len(facts.Version) < 3 {
		t.Errorf("version = %q", facts.Version)
	}
}

// TestGuestThatNeverSpeaks: QEMU takes KVM and is never heard of again.
func TestGuestThatNeverSpeaks(t *testing.T) {
	t.Parallel()
	binary := script(t, `case "$*" in *"-accel kvm"*) exec sleep 1000;; esac; exec "$QEMU" "$@"`)
	dir := t.TempDir()
	facts, err := driver(t, qemu.Config{Dir: dir, Binary: binary}).Probe(t.Context())
	if err != nil {
		t.Fatalf("Probe: %v", err)
	}
	if want := "did not do its work within 3s"; facts.Accelerator != "tcg" || !strings.Contains(facts.Reason, want) {
		t.Errorf("Probe = %+v, want tcg because a guest %s", facts, want)
	}
	_, err = driver(t, qemu.Config{Binary: binary, Accelerator: qemu.KVM}).Probe(t.Context())
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "KVM does not work here") {
		t.Errorf("Probe where KVM is demanded = %v, want an Unavailable fault", err)
	}

	// What was proved is known to the next process, as long as nothing has changed.
	replace(t, binary, "echo version 7.2.22")
	version := facts.Version
	again, err := driver(t, qemu.Config{Dir: dir, Binary: binary}).Probe(t.Context())
	if version == "7.2.22" && (err != nil || again != facts) {
		t.Errorf("Probe by the next process = %+v, %v, want %+v", again, err, facts)
	}
	_, err = driver(t, qemu.Config{Dir: dir, Binary: binary, Accelerator: qemu.TCG}).Probe(t.Context())
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("Probe of another accelerator = %v, want it to be tried and fail", err)
	}
}

// TestGuestThatStops: it gets a part of the way, as where a processor's kinds of
// work are emulated one by one, and the operator is told which.
func TestGuestThatStops(t *testing.T) {
	t.Parallel()
	stops := map[string]string{
		"real mode":  `echo real mode`,
		"interrupts": `echo real mode; echo 64-bit mode; echo interrupts`,
	}
	for step, says := range stops {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			binary := script(t, `case "$*" in *"-accel kvm"*) `+says+`; exec sleep 1000;; esac; exec "$QEMU" "$@"`)
			facts, err := driver(t, qemu.Config{Binary: binary}).Probe(t.Context())
			if err != nil {
				t.Fatalf("Probe: %v", err)
			}
			if want := "got as far as \"" + step + "\""; facts.Accelerator != "tcg" || !strings.Contains(facts.Reason, want) {
				t.Errorf("Probe = %+v, want tcg because a guest %s", facts, want)
			}
		})
	}
}

// TestKVMIsJudgedByAProof: where the host has KVM, what is said of it by an agent
// that is root comes from a guest, whatever the mode of the device.
func TestKVMIsJudgedByAProof(t *testing.T) {
	t.Parallel()
	facts, err := driver(t, qemu.Config{}).Probe(t.Context())
	if err != nil {
		t.Fatalf("Probe: %v", err)
	}
	_, missing := os.Stat("/dev/kvm")
	if denied := strings.Contains(facts.Reason, "ermission denied"); denied && missing == nil && os.Getuid() == 0 {
		t.Errorf("Probe = %+v, want what a guest did", facts)
	}
}

// TestProofIsTakenAnew: Probe believes an earlier process, Prove doesn't.
func TestProofIsTakenAnew(t *testing.T) {
	t.Parallel()
	binary := script(t, `case $1 in --version) echo version 7.2.22;; *) echo cpucloud guest speaks;; esac`)
	dir := t.TempDir()
	first, err := driver(t, qemu.Config{Dir: dir, Binary: binary}).Prove(t.Context())
	if err != nil || first.Accelerator != "kvm" {
		t.Fatalf("Prove = %+v, %v, want kvm", first, err)
	}
	replace(t, binary, `case $1 in --version) echo version 7.2.22;; *) exit 1;; esac`)
	if again, err := driver(t, qemu.Config{Dir: dir, Binary: binary}).Probe(t.Context()); err != nil || again != first {
		t.Errorf("Probe by the next process = %+v, %v, want %+v", again, err, first)
	}
	if _, err := driver(t, qemu.Config{Dir: dir, Binary: binary}).Prove(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Prove = %v, want it to be tried and fail", err)
	}
}

func TestGuestListing(t *testing.T) {
	t.Parallel()
	disk, err := qemu.GuestCode()
	if err != nil {
		t.Fatal(err)
	}
	if len(disk) != 1024 || disk[510] != 0x55 || disk[511] != 0xaa {
		t.Errorf("%d bytes that end their first sector with % x, want 1024 and a boot sector", len(disk), disk[510:512])
	}
	text, err := os.ReadFile("guest.lst")
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for _, line := range regexp.MustCompile(`(?m)^([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(  |$)`).FindAllSubmatch(text, -1) {
		at, err := strconv.ParseInt(string(line[1]), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		if int(at) < next || int(at) > next && next%8 != 0 && at != 0x7dfe && at != 0x8000 && at != 0x81a8 {
			t.Errorf("the line at %x follows one that ends at %x", at, next)
		}
		next = int(at) + len(strings.Fields(string(line[2])))
	}
}

// TestConfinementIsWhole: where the agent is root, all of it works but for limits
// that the host has no control groups for.
func TestConfinementIsWhole(t *testing.T) {
	t.Parallel()
	facts, err := driver(t, qemu.Config{Accelerator: qemu.TCG}).Probe(t.Context())
	if err != nil {
		t.Fatalf("Probe: %v", err)
	}
	root := os.Getuid() == 0
	if weak := strings.Contains(facts.Weaker, "namespaces"); weak && root || !root && facts.Weaker == "" {
		t.Errorf("%q doesn't work here", facts.Weaker)
	}
}

// TestWeakerConfinementIsTold: a QEMU that doesn't run in it runs without, and
// the operator is told.
func TestWeakerConfinementIsTold(t *testing.T) {
	t.Parallel()
	binary := script(t, `if [ -e /etc/passwd ]; then exec "$QEMU" "$@"; fi; echo no library >&2; exit 127`)
	facts, err := driver(t, qemu.Config{Binary: binary, Accelerator: qemu.TCG}).Probe(t.Context())
	if err != nil {
		t.Fatalf("Probe: %v", err)
	}
	want := "no library"
	if os.Getuid() != 0 {
		want = "the agent is not root"
	}
	if !strings.Contains(facts.Weaker, want) {
		t.Errorf("Probe = %+v, want it weaker because %s", facts, want)
	}
}

func TestUselessQEMU(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ binary, want string }{
		"missing": {"qemu-system-none", "qemu-system-none is not installed; run: apt-get install qemu-system-x86 qemu-utils"},
		"old":     {script(t, "echo QEMU emulator version 6.2.0"), "is 6.2.0"},
		"mute":    {script(t, "exit 0"), "does not say its version"},
		"broken":  {script(t, `case $1 in --version) echo version 9.0;; *) echo oh no >&2; exit 1;; esac`), "oh no"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := driver(t, qemu.Config{Binary: test.binary}).Probe(t.Context())
			if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Probe = %v, want an Unavailable fault with %q", err, test.want)
			}
		})
	}
}
