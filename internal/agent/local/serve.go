package local

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
)

const (
	maxRequest  = 64 << 10
	headTimeout = 10 * time.Second
)

// line is one line of an answer: what there is to tell meanwhile, and at the end
// a result or a problem.
type line struct {
	Progress *image.Progress `json:"progress,omitempty"`
	Stock    *Stock          `json:"stock,omitempty"`
	Base     *image.Base     `json:"base,omitempty"`
	Freed    *int64          `json:"freed,omitempty"`
	Error    string          `json:"error,omitempty"`
	Kind     fault.Kind      `json:"kind,omitempty"`
}

// request is what can be asked.
type request struct {
	URL string `json:"url,omitempty"`
	All bool   `json:"all,omitempty"`
}

// Counter is where commands ask: the socket in an agent's folder.
type Counter struct {
	dir      string
	listener net.Listener
}

// Listen opens the socket in dir, so that commands find the agent from now on. The
// caller holds the folder, and serves.
func Listen(ctx context.Context, dir string) (*Counter, error) {
	l, err := listen(ctx, dir)
	return &Counter{dir, l}, err
}

// Serve answers until ctx is cancelled, and removes the socket.
func (c *Counter) Serve(ctx context.Context, images Images) error {
	mux := http.NewServeMux()
	for path, do := range map[string]func(context.Context, request, func(line)) (line, error){
		"POST /list": func(ctx context.Context, _ request, _ func(line)) (line, error) {
			s, err := images.List(ctx)
			return line{Stock: &s}, err
		},
		"POST /collect": func(ctx context.Context, r request, _ func(line)) (line, error) {
			n, err := images.Collect(ctx, r.All)
			return line{Freed: &n}, err
		},
		"POST /prefetch": func(ctx context.Context, r request, tell func(line)) (line, error) {
			b, err := images.Prefetch(ctx, r.URL, func(p image.Progress) { tell(line{Progress: &p}) })
			return line{Base: &b}, err
		},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { answer(r.Context(), w, r.Body, do) })
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: headTimeout, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	err := s.Serve(c.listener)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, os.Remove(filepath.Join(c.dir, socketName)))
}

// answer writes the lines of one answer. Whoever is slow to read misses some of
// the progress, and holds nobody up.
func answer(ctx context.Context, w http.ResponseWriter, body io.Reader, do func(context.Context, request, func(line)) (line, error)) {
	var in request
	if err := json.NewDecoder(io.LimitReader(body, maxRequest)).Decode(&in); err != nil {
		http.Error(w, "not understood", http.StatusBadRequest)
		return
	}
	news, last := make(chan line, 1), make(chan line, 1)
	go func() {
		l, err := do(ctx, in, func(l line) {
			select {
			case news <- l:
			default:
			}
		})
		if err != nil {
			l = line{Error: fault.Message(err), Kind: kindOf(err)}
		}
		last <- l
	}()
	tell := func(l line) {
		_ = json.NewEncoder(w).Encode(l) // who has gone hears nothing
		_ = http.NewResponseController(w).Flush()
	}
	for {
		select {
		case l := <-news:
			tell(l)
		case l := <-last:
			tell(l)
			return
		}
	}
}
