package servertest_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/servertest"
)

// A guest that writes as fast as memory can be copied fills no memory and keeps nobody
// else's console waiting; who watches it is told what was skipped.
func TestConsoleFlood(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	a, anna := cloud.Agent(parrot), cloud.Customer("10")
	d := wish(cloud.Demo())
	d.Instances = 2
	ids := deploy(t, anna, d)
	for _, id := range ids {
		reach(t, anna, id, client.StatusActive)
	}
	loud, quiet := sitDown(t, anna, ids[0], client.ConsoleOptions{}), sitDown(t, anna, ids[1], client.ConsoleOptions{})

	flooding, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		text := bytes.Repeat([]byte{'x'}, 1<<20)
		for flooding.Err() == nil {
			a.Machines.Say(ids[0], text)
		}
	}()
	defer func() { stop(); <-ended }()

	loud.says("bytes were skipped")
	var slowest time.Duration
	for i := range 20 {
		begun, word := time.Now(), strings.Repeat("a", i+1)+"!"
		quiet.types(word)
		quiet.says(strings.ToUpper(word))
		slowest = max(slowest, time.Since(begun))
	}
	if slowest > 5*time.Second {
		t.Errorf("beside a flood an answer took %s", slowest)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if most := uint64(512 << 20); m.HeapInuse > most { // of all tests that run at once
		t.Errorf("%d MiB are in use", m.HeapInuse>>20)
	}
	t.Logf("beside a flood the slowest of 20 answers took %s", slowest)
}

// Consoles end when the agent or the control plane is restarted, and the next one finds the
// VM as it was.
func TestConsoleOverRestarts(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	a, anna := cloud.Agent(parrot), cloud.Customer("10")
	id := deploy(t, anna, wish(cloud.Demo()))[0]
	reach(t, anna, id, client.StatusActive)
	for name, restart := range map[string]func(){
		"agent":         a.Restart,
		"control plane": func() { cloud.StopServer(); cloud.StartServer() },
	} {
		before := sitDown(t, anna, id, client.ConsoleOptions{})
		restart()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		for before.next(ctx) == nil {
		}
		if ctx.Err() != nil {
			t.Errorf("after a restart of %s the console hangs", name)
		}
		cancel()
		var again *client.Console
		cloud.Await("the console can be opened again", func() bool {
			var err error
			again, err = anna.OpenConsole(t.Context(), id, client.ConsoleOptions{})
			return err == nil
		})
		next := &seat{Console: again, t: t}
		next.until("being told who writes", func() bool { return next.last.Writer != nil })
		next.types("back\n")
		next.says("BACK\n")
		_ = again.Close()
	}
	if n := a.Running()[id]; n != 1 {
		t.Errorf("start %d, want the first", n)
	}
}

// Behind a balancer that sends two of three requests to replicas at which nobody waits,
// customer and agent find each other all the same.
func TestConsoleAmongReplicas(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	target, err := url.Parse(cloud.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	var customers, agents atomic.Int32
	balancer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of, status := &customers, http.StatusServiceUnavailable
		if strings.HasPrefix(r.URL.Path, "/agent/") {
			of, status = &agents, http.StatusNotFound
		}
		if strings.Contains(r.URL.Path, "/console") && of.Add(1)%3 != 0 {
			w.WriteHeader(status)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(balancer.Close)
	through := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, balancer.Listener.Addr().String())
		},
	}}
	a := cloud.Agent(parrot, func(a *servertest.Agent) { a.Config.HTTP = through })
	anna := cloud.Customer("10", client.WithHTTPClient(through))
	id := deploy(t, anna, wish(cloud.Demo()))[0]
	reach(t, anna, id, client.StatusActive)
	s := sitDown(t, anna, id, client.ConsoleOptions{})
	s.types("hello\n")
	s.says("HELLO\n")
	a.Machines.Say(id, []byte("bye"))
	if text, err := anna.ConsoleLog(t.Context(), id); err != nil || string(text) != "HELLO\nbye" {
		t.Errorf("log %q, %v", text, err)
	}
	if customers.Load() < 9 || agents.Load() < 6 {
		t.Errorf("%d requests of the customer, %d of the agent: they had no need to try again", customers.Load(), agents.Load())
	}
}
