package cli

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// verdict turns what a command returned into an exit code and what to say.
// Started is false when the command did not run because of its arguments.
func verdict(err error, started bool) (code int, text string) {
	if err == nil {
		return session.CodeOK, ""
	}
	if errors.Is(err, context.Canceled) {
		return session.CodeInterrupted, "interrupted\n"
	}
	code = codeOf(err, started)
	if err.Error() == "" {
		return code, ""
	}
	text = "error: " + sentence(err) + "\n"
	if h := hint(err, code); h != "" {
		text += "hint: " + h + "\n"
	}
	return code, text
}

// sentence returns the error's text. One that the cloud wrote stays one line,
// so that it can't pose as a hint of ours.
func sentence(err error) string {
	e, refused := errors.AsType[*client.Error](err)
	if !refused {
		return err.Error()
	}
	text := session.Clean(err.Error())
	if e.Status >= http.StatusInternalServerError && e.RequestID != "" && !strings.Contains(text, e.RequestID) {
		text += " (request " + session.Clean(e.RequestID) + ")"
	}
	return text
}

func codeOf(err error, started bool) int {
	if e, ok := errors.AsType[*session.ExitError](err); ok {
		return e.Code
	}
	if !started {
		return session.CodeUsage
	}
	if client.Unreached(err) {
		return session.CodeUnavailable
	}
	if status := client.StatusOf(err); status != 0 {
		return codeOfStatus(status)
	}
	switch fault.KindOf(err) {
	case fault.Malformed, fault.Invalid:
		return session.CodeUsage
	case fault.NotFound:
		return session.CodeNotFound
	case fault.Denied:
		return session.CodeDenied
	case fault.Unavailable:
		return session.CodeUnavailable
	case fault.Conflict, fault.Unsatisfiable, fault.Unaffordable, fault.Exhausted:
		return session.CodeRefused
	case fault.Internal:
		return session.CodeError
	}
	return session.CodeError
}

func codeOfStatus(status int) int {
	switch {
	case status == http.StatusNotFound:
		return session.CodeNotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return session.CodeDenied
	case status >= 400 && status < 500:
		return session.CodeRefused
	}
	return session.CodeUnavailable
}

// hint says what to do about an error, "" where its text says it.
func hint(err error, code int) string {
	_, isDNS := errors.AsType[*net.DNSError](err)
	refusal, _ := errors.AsType[*client.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "is the cloud running? `cpucloud up` starts one on this machine"
	case isDNS:
		return "check the address: $CPUCLOUD_URL or --url"
	case refusal != nil:
		return hintOf(refusal)
	case code == session.CodeDenied:
		return "start a local cloud with `cpucloud up`, or `source DIR/demo.env` (`DIR/admin.env` for operators), or give --data DIR"
	case code == session.CodeUsage && !fault.Is(err, fault.Invalid):
		return "`cpucloud help` and the --help of every command show what can be given"
	}
	return ""
}

func hintOf(e *client.Error) string {
	// The API has one status for many refusals and nothing but a sentence beside
	// it; a wrong guess costs a line.
	switch {
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return "check the API key: `source DIR/demo.env` of the cloud's data folder, or ask its operator for one"
	case e.Status == http.StatusNotFound && strings.Contains(e.Message, "VM"):
		return "`cpucloud vm list` shows yours"
	case e.Status == http.StatusNotFound && strings.Contains(e.Message, "path"), e.Status >= 300 && e.Status < 400:
		return "is $CPUCLOUD_URL the address of a CPU Cloud?"
	case e.Status == http.StatusTooManyRequests:
		return "wait a moment and try again"
	case e.Message == client.NoSuitableOffer, e.Message == client.NotEnoughOffers:
		return "`cpucloud offers` takes the same filters and shows what is free; loosen one of them"
	case strings.Contains(e.Message, "USDC are missing"):
		return "`cpucloud account` shows the balance; an operator raises it with `cpucloud admin balance credit ACCOUNT AMOUNT --note TEXT`"
	case e.Status >= http.StatusInternalServerError:
		return "try again later; the operator finds the request in the server's log"
	}
	return ""
}
