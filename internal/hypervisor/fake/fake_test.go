package fake_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/fake"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
)

func TestDriver(t *testing.T) {
	t.Parallel()
	hypervisortest.Run(t, func(*testing.T) hypervisortest.Fixture {
		h := fake.NewHost(time.Now)
		h.OnShutdown = hypervisortest.Obeys
		h.OnType = func(id string, text []byte) { h.Say(id, hypervisortest.Answer(text)) }
		return hypervisortest.Fixture{
			Open: func(*testing.T) hypervisor.Driver { return fake.New(h) },
			Kill: func(_ *testing.T, id string) { h.Kill(id, "it was killed") },
			Processes: func(_ *testing.T, id string) []string {
				if _, start := h.Machine(id); start > 0 {
					return []string{fmt.Sprint(start)}
				}
				return nil
			},
			Content: func(t *testing.T, path string) []byte {
				t.Helper()
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return text
			},
		}
	})
}

func TestOrderedFailuresAndHooks(t *testing.T) {
	t.Parallel()
	h := fake.NewHost(time.Now)
	var told []string
	h.OnStart = func(m hypervisor.Machine) error { told = append(told, "start "+m.ID); return nil }
	h.OnEnd = func(id string) { told = append(told, "end "+id) }
	d := fake.New(h)
	ensure := func() error {
		near, far, err := hypervisortest.Socket()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = far.Close() })
		return d.Ensure(t.Context(), hypervisortest.Machine(t, t.TempDir(), "a", near))
	}
	broken := errors.New("broken")
	h.Fail(fake.Ensure, broken)
	if err := ensure(); !errors.Is(err, broken) {
		t.Errorf("Ensure = %v, want %v", err, broken)
	}
	h.Fail(fake.Ensure, nil)
	if err := ensure(); err != nil {
		t.Errorf("Ensure = %v after the failure has ended", err)
	}
	h.Restart()
	list, err := d.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Reason != "the host was restarted" {
		t.Errorf("List after a restart of the host = %+v, %v", list, err)
	}
	if got, want := fmt.Sprint(told), "[start a end a]"; got != want {
		t.Errorf("hooks were told %s, want %s", got, want)
	}
}
