package vm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

const defaultTimeout = 15 * time.Minute

// waiter waits for VMs and shows how they come along.
type waiter struct {
	session *session.Session
	cloud   *client.Client
	timeout time.Duration
}

// until returns a VM, as it was seen last, when it has the status. An Exit with
// CodeVMFailed says why it hasn't.
func (w waiter) until(ctx context.Context, last client.VM, status string) (client.VM, error) {
	limited, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	p := &progress{session: w.session, since: w.session.Now()}
	p.width, p.redraw = w.session.TerminalWidth(w.session.Err)
	_, err := w.cloud.WaitVM(limited, last.ID, status, func(v client.VM) {
		last = v
		p.show(v)
	})
	p.end()
	switch {
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		return last, failed("VM %s is not %s after %s: it is %s%s", last.Name, status, w.timeout, last.Status, because(last))
	case err != nil:
		return last, err
	case last.Status != status:
		return last, failed("VM %s is %s%s", last.Name, last.Status, because(last))
	}
	return last, nil
}

// failed makes one line of what the cloud says about a VM.
func failed(format string, args ...any) error {
	return &session.ExitError{Code: session.CodeVMFailed, Err: errors.New(session.Clean(fmt.Sprintf(format, args...)))}
}

func because(v client.VM) string {
	switch {
	case v.Reason != "":
		return ": " + v.Reason
	case len(v.Timeline) > 0:
		return ": " + v.Timeline[len(v.Timeline)-1].Text
	}
	return ""
}

// progress shows one VM: on a terminal a line that is drawn anew, elsewhere a
// line for every change.
type progress struct {
	session *session.Session
	since   time.Time
	width   int
	redraw  bool
	said    string
}

func (p *progress) show(v client.VM) {
	state := v.Name + "  " + v.Status
	news := ""
	if n := len(v.Timeline); n > 0 {
		news = v.Timeline[n-1].Text
	}
	if v.Reason != "" && !client.Ended(v.Status) {
		news += " — " + v.Reason // what it waits for
	}
	elapsed := p.session.Now().Sub(p.since).Truncate(time.Second)
	if p.redraw {
		line := []rune(session.Clean(fmt.Sprintf("%s  %s  %s", state, elapsed, news)))
		fmt.Fprintf(p.session.Err, "\r\x1b[K%s", string(line[:min(len(line), p.width-1)]))
		p.said = "something"
		return
	}
	if now := state + news; now != p.said {
		p.said = now
		fmt.Fprintln(p.session.Err, session.Clean(fmt.Sprintf("%s  %s  %s", state, elapsed, news)))
	}
}

// end leaves the cursor on a line of its own.
func (p *progress) end() {
	if p.redraw && p.said != "" {
		fmt.Fprintln(p.session.Err)
	}
}
