package local

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
)

// Remote asks the agent that runs over a data folder.
type Remote struct{ http *http.Client }

var _ Images = (*Remote)(nil)

// Dial returns the agent that runs over dir. Returns a NotFound fault when none
// does.
func Dial(ctx context.Context, dir string) (*Remote, error) {
	conn, err := dial(ctx, dir)
	if absent(err) {
		return nil, fault.New(fault.NotFound, "no agent runs here")
	}
	if err != nil {
		return nil, fault.Newf(fault.Unavailable, "the agent can't be asked: %v; run this as the user whose agent it is", err)
	}
	_ = conn.Close() // each request makes its own
	return &Remote{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, dir) }, DisableKeepAlives: true,
	}}}, nil
}

// List implements Images.
func (r *Remote) List(ctx context.Context) (Stock, error) {
	l, err := r.ask(ctx, "list", request{}, nil)
	if err != nil || l.Stock == nil {
		return Stock{}, err
	}
	return *l.Stock, nil
}

// Collect implements Images.
func (r *Remote) Collect(ctx context.Context, all bool) (int64, error) {
	l, err := r.ask(ctx, "collect", request{All: all}, nil)
	if err != nil || l.Freed == nil {
		return 0, err
	}
	return *l.Freed, nil
}

// Prefetch implements Images.
func (r *Remote) Prefetch(ctx context.Context, url string, progress func(image.Progress)) (image.Base, error) {
	l, err := r.ask(ctx, "prefetch", request{URL: url}, progress)
	if err != nil || l.Base == nil {
		return image.Base{}, err
	}
	return *l.Base, nil
}

// ask sends one request and returns the last line of its answer.
func (r *Remote) ask(ctx context.Context, what string, in request, progress func(image.Progress)) (last line, err error) {
	text, err := json.Marshal(in)
	if err != nil {
		return last, fmt.Errorf("encode request to the agent: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent/"+what, bytes.NewReader(text))
	if err != nil {
		return last, fmt.Errorf("ask the agent: %w", err)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return last, gone(ctx)
	}
	defer resp.Body.Close() //nolint:errcheck // it is read
	lines := json.NewDecoder(resp.Body)
	for {
		var l line
		if err := lines.Decode(&l); err != nil {
			return last, gone(ctx)
		}
		switch {
		case l.Error != "":
			return l, fault.New(l.Kind, l.Error)
		case l.Progress == nil:
			return l, nil
		case progress != nil:
			progress(*l.Progress)
		}
	}
}

// gone says that the agent did not answer to the end.
func gone(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fault.New(fault.Unavailable, "the agent stopped before it had answered; try again")
}
