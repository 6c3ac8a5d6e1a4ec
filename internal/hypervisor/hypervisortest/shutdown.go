package hypervisortest

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

// obedient is a boot sector whose guest does one thing: it powers off when its
// power button is pressed. The numbers of the ports are those that the firmware
// gives QEMU's ICH9, sections 13.8.3.1 to 13.8.3.3 of Intel's datasheet.
//
//	00        cli
//	01        mov  dx, 0x602     ; PM1 enable
//	04        mov  ax, 0x100     ; the power button
//	07        out  dx, ax
//	08        mov  dx, 0x600     ; PM1 status
//	0b wait:  in   ax, dx
//	0c        test ah, 1         ; the power button
//	0f        jz   wait
//	11        mov  dx, 0x604     ; PM1 control
//	14        mov  ax, 0x2000    ; sleep enable, type soft off
//	17        out  dx, ax
//	18 off:   hlt
//	19        jmp  off
var obedient = []byte{
	0xfa, 0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef,
	0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xfa,
	0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd,
}

// Obeys reports whether the guest on a machine's first disk powers off when it
// is asked to. A driver without real guests asks it in their place.
func Obeys(m hypervisor.Machine) bool {
	disk, err := os.ReadFile(m.Disks[0].Path)
	return err == nil && bytes.HasPrefix(disk, obedient)
}

// teach puts a guest on the disk of m.
func teach(t *testing.T, m hypervisor.Machine, guest []byte) {
	t.Helper()
	sector := make([]byte, 512)
	copy(sector, guest)
	sector[510], sector[511] = 0x55, 0xaa
	disk, err := os.OpenFile(m.Disks[0].Path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = disk.Close() }()
	if _, err := disk.Write(sector); err != nil {
		t.Fatal(err)
	}
}

func (h *host) obedientGuestPowersOff() {
	t := h.t
	m := h.machine(t, "a")
	teach(t, m, obedient)
	h.start(t, m)
	h.ensure(t, "b")
	Await(t, func() bool { // what is asked while the guest boots is lost on it
		h.shutdown(t)
		return slices.Equal(h.states(t), []string{"a exited", "b running"})
	})
	Await(t, func() bool { return h.list(t)[0].Reason == "the guest powered off" }) // it is noted just after the exit
	h.shutdown(t)
	h.start(t, h.machine(t, "a"))
	h.wantList(t, "a running", "b running")
}

func (h *host) deafGuestGoesOn() {
	t := h.t
	h.ensure(t, "a")
	before := h.Processes(t, "a")
	h.shutdown(t)
	h.driver = h.Open(t)
	h.shutdown(t)
	h.wantList(t, "a running")
	if got := h.Processes(t, "a"); len(got) != 1 || !slices.Equal(got, before) {
		t.Errorf("processes = %v, want still %v", got, before)
	}
}

func (h *host) shutdownOfNothingIsNoError() {
	t := h.t
	h.shutdown(t)
	h.wantList(t)
	h.ensure(t, "a")
	h.Kill(t, "a")
	h.await(t, "a exited")
	h.shutdown(t)
	h.wantList(t, "a exited")
	h.destroy(t, "a")
	h.shutdown(t)
	h.wantList(t)
}

// shutdown asks the guest of machine a.
func (h *host) shutdown(t *testing.T) {
	t.Helper()
	if err := h.driver.Shutdown(t.Context(), "a"); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
}

// What a reset does to the guest is seen by the guest alone: the machine is the
// same, in the same process, and is asked as before.
func (h *host) resetKeepsTheMachine() {
	t := h.t
	h.ensure(t, "a")
	before := h.Processes(t, "a")
	h.reset(t)
	h.driver = h.Open(t)
	h.reset(t)
	h.wantList(t, "a running")
	if got := h.Processes(t, "a"); len(got) != 1 || !slices.Equal(got, before) {
		t.Errorf("processes = %v, want still %v", got, before)
	}
}

func (h *host) resetOfNothingIsNoError() {
	t := h.t
	h.reset(t)
	h.wantList(t)
	h.ensure(t, "a")
	h.Kill(t, "a")
	h.await(t, "a exited")
	h.reset(t)
	h.wantList(t, "a exited")
}

// reset presses the reset button of machine a.
func (h *host) reset(t *testing.T) {
	t.Helper()
	if err := h.driver.Reset(t.Context(), "a"); err != nil {
		t.Fatalf("Reset: %v", err)
	}
}
