package loopback_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/loopback"
	"github.com/cpucloud/cpucloud/internal/network/networktest"
)

func TestDriver(t *testing.T) {
	t.Parallel()
	networktest.Run(t, func(t *testing.T) networktest.Fixture {
		t.Helper()
		h := newHost(t)
		return networktest.Fixture{
			New:     func() network.Driver { return h.driver(t) },
			Address: h.address,
		}
	})
}

func TestOpenPortsAnswerOnTheirRealNumbers(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.driver(t)
	one, two := h.link(1, tcp(8022), udp(8053)), h.link(2, tcp(8022))
	for name, l := range map[string]network.Link{"one ": one, "two ": two} {
		vm := boot(t, d, l)
		vm.Echo(8022, name)
		vm.Echo(8053, name)
	}
	say(t, dial(t, one, tcp(8022)), "hello", "one hello")
	say(t, dial(t, two, tcp(8022)), "hello", "two hello")
	say(t, dial(t, one, udp(8053)), "hello", "one hello")
	say(t, dial(t, one, udp(8053)), strings.Repeat("long", 1000), "one "+strings.Repeat("long", 1000))

	for _, p := range []network.Port{tcp(8053), tcp(8023)} {
		if _, err := net.Dial("tcp", netip.AddrPortFrom(one.Address, p.Number).String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial closed port %v: %v, want %v", p, err, syscall.ECONNREFUSED)
		}
	}
	closed := dial(t, two, udp(8053))
	_, _ = closed.Write([]byte("hello"))
	if _, err := closed.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("read from closed udp port: %v, want %v", err, syscall.ECONNREFUSED)
	}
}

func TestPortsBelow1024(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.driver(t)
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		t.Fatal(err)
	}
	first, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	l := h.link(1, tcp(22))
	if os.Getuid() != 0 && first > 22 {
		err := d.Ensure(t.Context(), l)
		if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "sysctl -w net.ipv4.ip_unprivileged_port_start=0") {
			t.Errorf("Ensure = %v, want an unavailable fault with the command that helps", err)
		}
		return
	}
	boot(t, d, l).Echo(22, "SSH-2.0-")
	say(t, dial(t, l, tcp(22)), "x", "SSH-2.0-x")
}

func TestChangedPortsCutNoConnection(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.driver(t)
	l := h.link(1, tcp(8022), tcp(8080), udp(8053))
	vm := boot(t, d, l)
	for _, p := range []uint16{8022, 8080, 8053, 8443} {
		vm.Echo(p, "vm ")
	}
	stays, closes, datagrams := dial(t, l, tcp(8022)), dial(t, l, tcp(8080)), dial(t, l, udp(8053))
	for _, c := range []net.Conn{stays, closes, datagrams} {
		say(t, c, "before", "vm before")
	}
	l.Ports = []network.Port{tcp(8022), tcp(8443), udp(8053)}
	ensure(t, d, l)

	say(t, dial(t, l, tcp(8443)), "opened", "vm opened")
	say(t, stays, "after", "after")
	say(t, closes, "after", "after")
	say(t, datagrams, "after", "vm after")
	if _, err := net.Dial("tcp", netip.AddrPortFrom(l.Address, 8080).String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial the closed port: %v, want %v", err, syscall.ECONNREFUSED)
	}

	if err := d.Cut(t.Context(), l.ID); err != nil {
		t.Fatal(err)
	}
	say(t, stays, "cut", "cut")
	say(t, datagrams, "cut", "vm cut")
	if n, err := closes.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read from a connection that was cut: %d, %v, want its end", n, err)
	}
}

func TestEnsureThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.driver(t)
	l := h.link(1, tcp(8022))
	boot(t, d, l).Echo(8022, "")
	taken := netip.AddrPortFrom(l.Address, 8080)
	ln, err := net.Listen("tcp", taken.String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // a test's listener

	wanted := l
	wanted.Ports = []network.Port{tcp(8443), tcp(8080)}
	err = d.Ensure(t.Context(), wanted)
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), taken.String()+"/tcp is used by another program") {
		t.Errorf("Ensure = %v, want an unavailable fault that names %v", err, taken)
	}
	say(t, dial(t, l, tcp(8022)), "still", "still")
	if _, err := net.Dial("tcp", netip.AddrPortFrom(l.Address, 8443).String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial a port of the failed change: %v, want %v", err, syscall.ECONNREFUSED)
	}
	if links, err := d.List(t.Context()); err != nil || len(links) != 1 || !slices.Equal(links[0].Ports, l.Ports) {
		t.Errorf("List = %+v, %v, want %+v", links, err, l)
	}
	other := h.link(1, tcp(8080))
	other.ID = "new"
	if err := d.Destroy(t.Context(), l.ID); err != nil {
		t.Fatal(err)
	}
	if err := d.Ensure(t.Context(), other); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Ensure of a new link = %v, want an unavailable fault", err)
	}
	if links, err := d.List(t.Context()); err != nil || len(links) != 0 {
		t.Errorf("List = %+v, %v, want none", links, err)
	}
}

func TestLinksOutliveTheirMaker(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	l := h.link(1, tcp(8022))
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	maker := exec.Command(h.Command[0], agentWord, h.Dir, string(text))
	maker.Stderr = os.Stderr
	out, err := maker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("maker said %q, %v", line, err)
	}
	boot(t, h.driver(t), l).Echo(8022, "")
	conn := dial(t, l, tcp(8022))
	say(t, conn, "before", "before")
	if err := maker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := maker.Wait(); err == nil {
		t.Fatal("maker ended well, want it killed")
	}
	say(t, conn, "after", "after")

	d := h.driver(t)
	if links, err := d.List(t.Context()); err != nil || len(links) != 1 || links[0].ID != l.ID {
		t.Fatalf("List = %+v, %v, want %+v", links, err, l)
	}
	l.Ports = append(l.Ports, tcp(8080))
	ensure(t, d, l)
	say(t, conn, "later", "later")
	say(t, dial(t, l, tcp(8022)), "new", "new")
}

func TestLinksOfAKilledSwitchAreMadeAgain(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.driver(t)
	l := h.link(1, tcp(8022))
	p := boot(t, d, l)
	p.Echo(8022, "")
	conn := dial(t, l, tcp(8022))
	say(t, conn, "before", "before")
	killed := h.pid(t)
	if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes from a killed switch, want an error", n)
	}
	if links, err := d.List(t.Context()); err != nil || len(links) != 0 {
		t.Errorf("List = %+v, %v, want none", links, err)
	}
	boot(t, d, l).Echo(8022, "")
	say(t, dial(t, l, tcp(8022)), "after", "after")
	if pid := h.pid(t); pid == killed || !alive(pid) {
		t.Errorf("switch has pid %d, want a living one that isn't %d", pid, killed)
	}
}

func TestSwitchEndsWhenItHasNoLinks(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.Idle = time.Millisecond
	d := h.driver(t)
	if _, err := os.Stat(filepath.Join(h.Dir, "switch.log")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a switch was started without a link: %v", err)
	}
	var pids []int
	for range 30 { // some meet a switch that is just ending
		ensure(t, d, h.link(1, tcp(8022)))
		pids = append(pids, h.pid(t))
		if err := d.Destroy(t.Context(), "vm-1"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all switches have ended", func() bool { return !slices.ContainsFunc(pids, alive) })
}

func TestSwitchHasFewPrivileges(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ensure(t, h.driver(t), h.link(1))
	proc := fmt.Sprintf("/proc/%d/", h.pid(t))
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"NoNewPrivs": "1", "Name": "cpucloud-switch"}
	if os.Getuid() == 0 {
		bind := "0000000000000400" // only CAP_NET_BIND_SERVICE
		want = map[string]string{
			"NoNewPrivs": "1", "Name": "cpucloud-switch", "Groups": "",
			"Uid": "65534\t65534\t65534\t65534", "Gid": "65534\t65534\t65534\t65534",
			"CapInh": bind, "CapPrm": bind, "CapEff": bind, "CapAmb": bind,
		}
		if dir, err := os.Readlink(proc + "cwd"); err != nil || dir != "/" {
			t.Errorf("the switch is in %q, %v, want /", dir, err)
		}
		env, err := os.ReadFile(proc + "environ")
		if err != nil || strings.Contains(string(env), "PATH=") {
			t.Errorf("the switch has the environment %q, %v", env, err)
		}
	}
	for name, value := range want {
		if got := field(string(status), name); got != value {
			t.Errorf("%s = %q, want %q", name, got, value)
		}
	}
}

func field(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "(none)"
}

func TestFilesAreNotForOthers(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ensure(t, h.driver(t), h.link(1))
	for _, name := range []string{"", "switch.sock", "switch.lock", "switch.log"} {
		info, err := os.Stat(filepath.Join(h.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%q has the mode %v, want nothing for others", name, mode)
		}
	}
}

func TestNewRefusesPoolsThatAreNotLoopback(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for _, pool := range []string{"10.0.0.0/8", "126.0.0.0/7", "::1/128", "0.0.0.0/0"} {
		h.Pool = netip.MustParsePrefix(pool)
		if _, err := loopback.New(h.Config); !fault.Is(err, fault.Invalid) {
			t.Errorf("New with pool %v = %v, want an invalid fault", pool, err)
		}
	}
	h.Pool = netip.PrefixFrom(h.base, 27)
	l := h.link(1)
	l.Address = netip.MustParseAddr("127.0.0.1")
	if err := h.driver(t).Ensure(t.Context(), l); !fault.Is(err, fault.Invalid) {
		t.Errorf("Ensure outside of the pool = %v, want an invalid fault", err)
	}
}
