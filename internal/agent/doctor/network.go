package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	sshPort   = 22
	patience  = 10 * time.Second // with a control plane
	wrongTime = time.Minute      // that the clock may differ
)

// firstPort returns the lowest port that this user may listen on.
func (c Config) firstPort() int {
	if c.Rights() {
		return 1
	}
	text, err := os.ReadFile(c.host("proc/sys/net/ipv4/ip_unprivileged_port_start"))
	if err != nil {
		return 1024
	}
	first, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 1024
	}
	return first
}

func (c Config) ports() Result {
	const name = "ports"
	if first := c.firstPort(); first > sshPort {
		return warn(name, fmt.Sprintf("you are not root, and ports below %d are closed to other users: no VM can answer SSH", first),
			fmt.Sprintf("run the agent as root, or: sudo sysctl -w net.ipv4.ip_unprivileged_port_start=%d", sshPort))
	}
	return pass(name, "VMs may answer on every port from 22 up")
}

// pool tries to listen as a VM would, on the last address of the pool, which is
// the last to be given out.
func (c Config) pool(ctx context.Context) Result {
	const name = "address pool"
	if !c.Pool.IsValid() {
		return fail(name, "there is no pool", "give one: --pool 127.77.0.0/16")
	}
	address := last(c.Pool)
	port := sshPort
	if c.firstPort() > sshPort {
		port = 0
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", netip.AddrPortFrom(address, uint16(port)).String())
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return warn(name, fmt.Sprintf("something listens on port %d of all addresses, so VMs can't", sshPort),
			"give the host's SSH server an address of its own: ListenAddress in /etc/ssh/sshd_config")
	case err != nil:
		return fail(name, fmt.Sprintf("%s can't be listened on: %s", address, innermost(err)), "choose a pool that this machine has: --pool 127.77.0.0/16")
	}
	if err := listener.Close(); err != nil {
		return warn(name, err.Error(), "try again")
	}
	return pass(name, c.Pool.String()+" can be listened on")
}

// last returns the last address of p but one, which no rule reserves.
func last(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	address, _ := netip.AddrFromSlice(bytes)
	if before := address.Prev(); p.Contains(before) {
		return before
	}
	return address
}

// synchronised asks the kernel whether something keeps its clock right.
func (c Config) synchronised() (r Result, known bool) {
	const name = "time service"
	synchronised, known := c.Sync()
	if !synchronised {
		return warn(name, "nothing keeps the clock right", "turn one on: timedatectl set-ntp true, or install chrony"), known
	}
	return pass(name, "the clock is synchronised"), known
}

// kernelClock is adjtimex(2), which only reads when it is told to change nothing.
func kernelClock() (synchronised, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, err == nil
}

// controlPlane asks the control plane whether it is there, and what time it has.
func (c Config) controlPlane(ctx context.Context) []Result {
	const name, clock = "control plane", "clock"
	if c.URL == "" {
		return nil
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return []Result{fail(name, fmt.Sprintf("%q is no http or https URL", c.URL), "give its address: --server https://cloud.example.org")}
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return []Result{fail(name, c.URL+" is not encrypted", "give the https address; plain http is only for a control plane on this machine")}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+"/healthz", nil)
	if err != nil {
		return []Result{fail(name, err.Error(), "give its address: --server https://cloud.example.org")}
	}
	asked := c.Now()
	answer, err := c.HTTP.Do(request)
	if err != nil {
		return []Result{unreached(name, c.URL, err)}
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16))
	_ = answer.Body.Close()
	answered := c.Now()
	if answer.StatusCode != http.StatusOK {
		return []Result{fail(name, fmt.Sprintf("%s answers %s", c.URL, answer.Status), "check that this is the address of a control plane, and whether it begins with http or https")}
	}
	found := fmt.Sprintf("%s answers after %d ms", c.URL, answered.Sub(asked).Milliseconds())
	if answer.TLS != nil {
		found += ", " + tls.VersionName(answer.TLS.Version) + " verified"
	}
	results := []Result{pass(name, found)}
	if told, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		results = append(results, compareClocks(clock, asked, answered, told))
	}
	return results
}

// unreached says what to do about a control plane that can't be reached.
func unreached(name, address string, err error) Result {
	fix := "check address, name service and firewall: this machine has to reach it, it need not reach this machine"
	if _, isTLS := errors.AsType[*tls.CertificateVerificationError](err); isTLS {
		fix = "its certificate is not trusted here: give the authority's with --ca-file, or set this machine's clock right"
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		fix = "it does not speak TLS: give the address that it says when it starts"
	}
	return fail(name, address+": "+innermost(err), fix)
}

// compareClocks takes told, in whole seconds, as the time between two moments.
func compareClocks(name string, asked, answered, told time.Time) Result {
	off := time.Duration(0)
	switch {
	case told.Add(time.Second).Before(asked):
		off = asked.Sub(told)
	case told.After(answered):
		off = told.Sub(answered)
	}
	found := fmt.Sprintf("%s off the control plane's", off.Round(time.Second))
	if off > wrongTime {
		return fail(name, found, "set this machine's clock right: timedatectl set-ntp true")
	}
	return pass(name, found)
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// innermost returns the last part of an error's chain: what went wrong, not
// what was attempted.
func innermost(err error) string {
	for {
		cause := errors.Unwrap(err)
		if cause == nil {
			return firstLine(err.Error())
		}
		err = cause
	}
}
