package hypervisortest

import (
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// mostConsole is how much of a console is kept, in bytes.
const mostConsole = 256 << 10

// What a guest wrote can be read of a machine that runs and of one that has ended,
// by a driver that did not start it too.
func (h *host) consoleIsThereAndBounded() {
	t := h.t
	h.ensure(t, "a")
	h.console(t)
	h.driver = h.Open(t)
	h.console(t)
	h.Kill(t, "a")
	h.await(t, "a exited")
	h.console(t)
}

func (h *host) consoleOfNothingIsNotFound() {
	t := h.t
	for _, destroyed := range []bool{false, true} {
		if destroyed {
			h.ensure(t, "a")
			if err := h.driver.Destroy(t.Context(), "a"); err != nil {
				t.Fatalf("Destroy: %v", err)
			}
		}
		if text, err := h.driver.Console(t.Context(), "a"); !fault.Is(err, fault.NotFound) {
			t.Errorf("Console of no machine (destroyed: %v) = %q, %v, want a NotFound fault", destroyed, text, err)
		}
	}
}

// console reads the console of machine a.
func (h *host) console(t *testing.T) {
	t.Helper()
	text, err := h.driver.Console(t.Context(), "a")
	if err != nil || len(text) > mostConsole {
		t.Errorf("Console = %d bytes, %v, want at most %d", len(text), err, mostConsole)
	}
}
