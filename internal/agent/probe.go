package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	sshPort      = 22
	probeTime    = 5 * time.Second
	probesAtOnce = 3                      // one may hang in a handshake that came a moment too early
	firstProbe   = 300 * time.Millisecond // the patience with a machine that has just started
	firstPoll    = 40 * time.Millisecond
	lastPoll     = 2 * time.Second
)

// ReadSSHBanner returns nil when something at address greets as an SSH server.
// That a connection is accepted means nothing: a forwarded port accepts before
// the guest listens.
func ReadSSHBanner(ctx context.Context, address netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address.String())
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if stop() {
			_ = conn.Close()
		}
	}()
	greeting := make([]byte, len("SSH-"))
	if _, err := io.ReadFull(conn, greeting); err != nil {
		return fmt.Errorf("read banner: %w", err)
	}
	if string(greeting) != "SSH-" {
		return errors.New("what answers is not SSH")
	}
	return nil
}

// watch waits until the machine of o answers, or has run so long that it is
// taken as ready without: an image need not have an SSH server, and a VM whose
// port 22 is closed can't be asked.
func (k *keeper) watch(ctx context.Context, o vm.Order) error {
	started := k.book.get(o.ID).Started
	if now := k.Now(); started.IsZero() || started.After(now) { // its record was lost, or the clock set back
		started = now
	}
	text := "the machine runs; its SSH port is closed, so nobody asked whether it answers"
	if slices.Contains(o.Ports, vm.Port{Number: sshPort, Protocol: vm.TCP}) {
		answered := k.answers(ctx, netip.AddrPortFrom(o.Address, sshPort), started)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		text = fmt.Sprintf("SSH answered after %s", k.Now().Sub(started).Round(100*time.Millisecond))
		if !answered {
			text = fmt.Sprintf("SSH did not answer within %s; the machine runs and is taken as ready", k.ReadyAfter)
		}
	}
	k.book.update(ctx, o.ID, func(e *entry) {
		e.Ready, e.Reason = true, ""
		key := "ssh"
		if e.Restarts+e.Resumes > 0 { // the story of the first start stays
			key = "restart-ssh"
		}
		e.tell(key, k.Now(), text)
	})
	return nil
}

// answers asks address again and again, often while a machine is young and
// ever more seldom and patiently. It reports false when the time is up or ctx is cancelled.
func (k *keeper) answers(ctx context.Context, address netip.AddrPort, started time.Time) bool {
	ctx, cancel := context.WithCancel(ctx)
	answered := make(chan bool, probesAtOnce)
	asking, asked := 0, time.Time{}
	defer func() {
		cancel()
		for range asking {
			<-answered
		}
	}()
	for {
		now := k.Now()
		age := now.Sub(started)
		if age >= k.ReadyAfter {
			return false
		}
		// What is asked before the guest has a network is lost, and TCP repeats
		// it only after seconds: a machine that boots fast is asked anew.
		patience := min(max(age/4, firstProbe), probeTime)
		if asking == 0 || asking < probesAtOnce && now.Sub(asked) >= patience/probesAtOnce {
			asking, asked = asking+1, now
			go func() { answered <- k.probe(ctx, address, patience) == nil }()
		}
		timer := time.NewTimer(min(max(age/100, firstPoll), lastPoll))
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				timer.Stop()
				return false
			case yes := <-answered:
				asking--
				if yes {
					timer.Stop()
					return true
				}
			case <-timer.C:
				waiting = false
			}
		}
	}
}

// probe is Probe within a time.
func (k *keeper) probe(ctx context.Context, address netip.AddrPort, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return k.Probe(ctx, address)
}
