package local_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent/local"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
)

// stub is an agent's images without images.
type stub struct {
	mu     sync.Mutex
	asked  []string
	answer func(ctx context.Context, url string, progress func(image.Progress)) error
}

func (s *stub) List(context.Context) (local.Stock, error) {
	return local.Stock{Images: []local.Image{{Image: image.Image{Digest: "abc", URLs: []string{"u"}}, InUse: true}}, Bytes: 1, Quota: 2}, nil
}

func (s *stub) Collect(_ context.Context, all bool) (int64, error) {
	if all {
		return 7, nil
	}
	return 0, fault.New(fault.Unavailable, "not now")
}

func (s *stub) Prefetch(ctx context.Context, url string, progress func(image.Progress)) (image.Base, error) {
	s.mu.Lock()
	s.asked = append(s.asked, url)
	s.mu.Unlock()
	return image.Base{Digest: "abc"}, s.answer(ctx, url, progress)
}

// serve answers in a folder whose name is longer than a socket's may be.
func serve(t *testing.T, s *stub) (dir string, stop func()) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	counter, err := local.Listen(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- counter.Serve(ctx, s) }()
	return dir, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestAgentIsAsked(t *testing.T) {
	t.Parallel()
	s := &stub{answer: func(_ context.Context, url string, progress func(image.Progress)) error {
		if url == "bad" {
			return fault.New(fault.Invalid, "no disk")
		}
		if url == "secret" {
			return errors.New("path /root/secret")
		}
		progress(image.Progress{Step: image.Download, Done: 1, Total: 2})
		return nil
	}}
	dir, stop := serve(t, s)
	r, err := local.Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.List(t.Context()); err != nil || len(got.Images) != 1 || !got.Images[0].InUse || got.Quota != 2 {
		t.Errorf("list: %+v, %v", got, err)
	}
	if n, err := r.Collect(t.Context(), true); err != nil || n != 7 {
		t.Errorf("collect: %d, %v", n, err)
	}
	if _, err := r.Collect(t.Context(), false); !fault.Is(err, fault.Unavailable) || fault.Message(err) != "not now" {
		t.Errorf("collect: %v, want the agent's fault", err)
	}
	if b, err := r.Prefetch(t.Context(), "good", func(image.Progress) {}); err != nil || b.Digest != "abc" {
		t.Errorf("prefetch: %+v, %v", b, err)
	}
	if _, err := r.Prefetch(t.Context(), "bad", nil); !fault.Is(err, fault.Invalid) || fault.Message(err) != "no disk" {
		t.Errorf("prefetch: %v, want the agent's fault", err)
	}
	if _, err := r.Prefetch(t.Context(), "secret", nil); !fault.Is(err, fault.Internal) {
		t.Errorf("prefetch: %v, want an Internal fault", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "agent.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v, want 0600", info, err)
	}
	stop()
	if _, err := local.Dial(t.Context(), dir); !fault.Is(err, fault.NotFound) {
		t.Errorf("after the agent's end: %v, want a NotFound fault", err)
	}
	// What a kill has left is not taken for an agent, nor in the next one's way.
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := errors.Join(os.Rename(l.Addr().String(), filepath.Join(dir, "agent.sock")), l.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Dial(t.Context(), dir); !fault.Is(err, fault.NotFound) {
		t.Errorf("a socket that nobody listens on: %v, want a NotFound fault", err)
	}
}

// Whoever is neither root nor the agent's user is not heard, even where the modes
// of files would let it in.
func TestStrangersAreNotHeard(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		// There is nobody else to be: what is left to see is that this user is heard.
		s := &stub{}
		dir, stop := serve(t, s)
		defer stop()
		if _, err := local.Dial(t.Context(), dir); err != nil {
			t.Error(err)
		}
		return
	}
	dir, err := os.MkdirTemp("/tmp", "agent") //nolint:usetesting // another user has to reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ctx, cancel := context.WithCancel(t.Context())
	counter, err := local.Listen(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- counter.Serve(ctx, &stub{}) }()
	sock := filepath.Join(dir, "agent.sock")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(sock, 0o666)); err != nil {
		t.Fatal(err)
	}
	ask := `use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "no way in"; ` +
		`print $s "POST /list HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}"; local $/; print <$s>`
	for who, heard := range map[string]bool{"0": true, "65534": false} {
		out, err := exec.CommandContext(t.Context(), "setpriv", "--reuid", who, "--regid", who, "--clear-groups", "perl", "-e", ask, sock).CombinedOutput()
		if strings.Contains(string(out), "abc") != heard || strings.Contains(string(out), "no way in") {
			t.Errorf("user %s got %q, %v, want heard = %v", who, out, err, heard)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Images are fetched one after the other while nobody waits for another, again
// after trouble, and not again where no VM can be made of them.
func TestPrefetcher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		busy := true
		tries := map[string]int{}
		s := &stub{answer: func(ctx context.Context, url string, progress func(image.Progress)) error {
			tries[url]++
			switch {
			case url == "bad":
				return fault.New(fault.Invalid, "no disk")
			case url == "down" && tries[url] < 3:
				return fault.New(fault.Unavailable, "away")
			case url == "large" && tries[url] == 1:
				busy = true // a customer comes
				progress(image.Progress{Step: image.Download, Done: 1})
				return ctx.Err()
			}
			return nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			local.Prefetcher{
				URLs: []string{"large", "down", "bad"}, Images: s, Busy: func() bool { return busy }, Log: slog.New(slog.DiscardHandler), Now: time.Now,
				Pause: func(ctx context.Context, d time.Duration) error {
					select {
					case <-time.After(d):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				},
			}.Run(ctx)
		}()
		time.Sleep(time.Minute)
		if len(s.asked) != 0 {
			t.Errorf("asked for %v while somebody waits", s.asked)
		}
		busy = false
		time.Sleep(15 * time.Second)
		if tries["large"] != 1 || tries["down"] != 0 {
			t.Errorf("tries %v, want that it gives way", tries)
		}
		busy = false
		time.Sleep(15 * time.Second)
		if tries["large"] != 2 {
			t.Errorf("tries %v, want that it goes on", tries)
		}
		time.Sleep(10 * time.Minute)
		if tries["large"] < 2 || tries["down"] != 3 || tries["bad"] != 1 {
			t.Errorf("tries %v after %v, want down thrice and bad once", tries, time.Since(began))
		}
		time.Sleep(7 * time.Hour) // they are looked for again, so that they count as used
		if tries["down"] < 4 || tries["down"] > 6 || tries["bad"] != 1 {
			t.Errorf("tries %v after %v", tries, time.Since(began))
		}
		cancel()
		<-ended
	})
}
