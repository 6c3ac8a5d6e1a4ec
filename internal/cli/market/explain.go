package market

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// UnmetError is a refusal for want of offers, with what rules them out.
type UnmetError struct {
	Refusal     error
	Explanation string // lines for the user, clean of what a terminal would obey
}

// Error returns the refusal's sentence.
func (e *UnmetError) Error() string { return e.Refusal.Error() }

// Unwrap returns the refusal.
func (e *UnmetError) Unwrap() error { return e.Refusal }

// explainTime is how long a refused user waits for the reasons at most.
const explainTime = 10 * time.Second

// Explained adds to a refusal for want of offers why the request can't be met.
// Other errors, and refusals that can't be explained, are returned as they are.
func Explained(ctx context.Context, s *session.Session, cloud *client.Client, request client.Placing, err error) error {
	refusal, ok := errors.AsType[*client.Error](err)
	if !ok || refusal.Message != client.NoSuitableOffer && refusal.Message != client.NotEnoughOffers {
		return err
	}
	text := reasonsOf(ctx, s, cloud, request)
	if text == "" {
		return err
	}
	return &UnmetError{err, text}
}

// reasonsOf asks for an explanation; it is "" where there is none.
func reasonsOf(ctx context.Context, s *session.Session, cloud *client.Client, request client.Placing) string {
	ctx, cancel := context.WithTimeout(ctx, explainTime)
	defer cancel()
	e, err := cloud.Explain(ctx, request)
	if err != nil {
		return ""
	}
	text, err := explanation(s, request, e)
	if err != nil {
		return ""
	}
	return text
}

// maxRelaxations is how many changes are shown to people.
const maxRelaxations = 5

// explanation returns the lines that explain e to people.
func explanation(s *session.Session, request client.Placing, e client.Explanation) (string, error) {
	t := session.Table{Header: []string{"constraint", "wanted", "rules out alone", "rules out in order"}}
	for _, r := range e.Reasons {
		if r.Alone != 0 || r.InOrder != 0 {
			t.Add(r.Constraint, r.Wanted, strconv.Itoa(r.Alone), strconv.Itoa(r.InOrder))
		}
	}
	var lines strings.Builder
	page := *s
	page.Out, page.Format = &lines, session.TableFormat
	fmt.Fprintln(&lines, verdict(request, e))
	if err := page.Print(e, t); err != nil {
		return "", err
	}
	if e.Matching > 0 || e.Servers == 0 {
		return lines.String(), nil
	}
	if len(e.Relaxations) == 0 {
		fmt.Fprintln(&lines, "No change of one constraint alone is enough.")
		return lines.String(), nil
	}
	fmt.Fprintln(&lines, "Any of these is enough:")
	for _, r := range e.Relaxations[:min(len(e.Relaxations), maxRelaxations)] {
		each := ""
		if r.Instances > 1 {
			each = " for the cheapest VM"
		}
		fmt.Fprintln(&lines, session.Clean(fmt.Sprintf("  %s: %s USDC per epoch%s", r.Change, r.Price, each)))
	}
	if n := len(e.Relaxations) - maxRelaxations; n > 0 {
		fmt.Fprintf(&lines, "  … and %d more: `cpucloud why` with -o json shows all\n", n)
	}
	return lines.String(), nil
}

// verdict says in a sentence how many servers meet a request.
func verdict(request client.Placing, e client.Explanation) string {
	switch {
	case e.Servers == 0:
		return "No server is for sale."
	case e.Matching == 0 && e.Servers == 1:
		return "The only server is ruled out:"
	case e.Matching == 0:
		return fmt.Sprintf("Of %d servers these are ruled out:", e.Servers)
	case request.AntiAffinityGroup != "":
		return fmt.Sprintf("%d of %d servers fit now; servers that hold VMs of group %s already are counted too.",
			e.Matching, e.Servers, session.Clean(request.AntiAffinityGroup))
	}
	return fmt.Sprintf("%d of %d servers fit now.", e.Matching, e.Servers)
}
