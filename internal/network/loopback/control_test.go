package loopback_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// exchange sends text as it is to the switch of a folder and returns what
// comes back.
func exchange(dir *os.File, text string) (string, error) {
	conn, err := net.Dial("unix", filepath.Join(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), "switch.sock"))
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // a test's connection
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		return "", err
	}
	all, err := io.ReadAll(conn)
	return string(all), err
}

// Switches of old programs go on with new ones: what is said in version 1 may
// never change.
func TestVersion1IsSpokenForEver(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ensure(t, h.driver(t), h.link(1, tcp(8022)))
	dir := open(t, h.Dir)
	one := fmt.Sprintf(`{"id":"vm-1","address":"%v","mac":"52:54:00:00:01:01","ports":[{"number":8022,"protocol":"tcp"}]}`, h.address(1))
	two := fmt.Sprintf(`{"id":"vm-2","address":"%v","mac":"52:54:00:00:01:02","ports":null}`, h.address(2))
	nothing := `{"bytes_in":0,"bytes_out":0,"packets_in":0,"packets_out":0}`
	for _, step := range []struct{ say, want string }{
		{`{"version":1,"do":"list"}`, `{"version":1,"links":[` + one + `]}`},
		{`{"version":1,"do":"ensure","link":` + two + `,"allow":["10.0.0.0/8"]}`, `{"version":1}`},
		{`{"version":1,"do":"traffic"}`, `{"version":1,"traffic":{"vm-1":` + nothing + `,"vm-2":` + nothing + `}}`},
		{`{"version":1,"do":"list","later":"field"}`, `{"version":1,"links":[` + one + `,` + two + `]}`},
		{`{"version":1,"do":"destroy","id":"vm-2"}`, `{"version":1}`},
		{`{"version":1,"do":"plug","id":"vm-1"}`, `{"version":1}`},
		{`{"version":1,"do":"plug","id":"vm-2"}`, `{"version":1,"error":{"kind":"not_found","message":"no link \"vm-2\""}}`},
		{`not JSON`, ``},
		{``, ``},
		{`{"version":1,"do":"list"}`, `{"version":1,"links":[` + one + `]}`},
	} {
		if got, err := exchange(dir, step.say); err != nil || got != step.want {
			t.Errorf("said %s, got %s, %v, want %s", step.say, got, err, step.want)
		}
	}
	for _, text := range []string{`{"version":2,"do":"list"}`, `{"version":1,"do":"dance"}`, `{"version":1,"do":"ensure"}`} {
		if got, err := exchange(dir, text); err != nil || !strings.HasPrefix(got, `{"version":1,"error":{"kind":"unavailable"`) {
			t.Errorf("said %s, got %s, %v, want an unavailable fault", text, got, err)
		}
	}
}

func TestSwitchObeysItsOwnerOnly(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ensure(t, h.driver(t), h.link(1))
	dir := open(t, h.Dir)
	list := `{"version":1,"do":"list"}`
	if got, err := exchange(dir, list); err != nil || got == "" {
		t.Errorf("the owner got %q, %v, want an answer", got, err)
	}
	if os.Getuid() != 0 {
		return // only root can be somebody else
	}
	for _, name := range []string{h.Dir, fmt.Sprintf("/proc/self/fd/%d/switch.sock", dir.Fd())} {
		if err := os.Chmod(name, 0o777); err != nil { // as if the files didn't protect it
			t.Fatal(err)
		}
	}
	type result struct {
		text string
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread that is somebody else ends here
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 12345, 12345, 12345); errno != 0 {
			done <- result{"", errno}
			return
		}
		text, err := exchange(dir, list)
		done <- result{text, err}
	}()
	if r := <-done; r.text != "" || errors.Is(r.err, os.ErrPermission) {
		t.Errorf("somebody else got %q, %v, want a connection without an answer", r.text, r.err)
	}
}

func TestContextEndsARequest(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.driver(t)
	ensure(t, d, h.link(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.List(ctx); err == nil {
		t.Error("List with an ended context works")
	}
}
