package qemu_test

import (
	"log/slog"
	"os"
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
	d, err := qemu.New(c)
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
	if want := "said nothing within 3s"; facts.Accelerator != "tcg" || !strings.Contains(facts.Reason, want) {
		t.Errorf("Probe = %+v, want tcg because a guest %s", facts, want)
	}
	_, err = driver(t, qemu.Config{Binary: binary, Accelerator: qemu.KVM}).Probe(t.Context())
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "KVM does not work here") {
		t.Errorf("Probe where KVM is demanded = %v, want an Unavailable fault", err)
	}

	// What was proved is known to the next process, as long as nothing has changed.
	if err := os.WriteFile(binary, []byte("#!/bin/sh\necho version 7.2.22\n"), 0o755); err != nil { //nolint:gosec // run by others
		t.Fatal(err)
	}
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
