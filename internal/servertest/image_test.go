package servertest_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/servertest"
)

// An image that no VM can be made of ends the VM, says why, and costs nothing.
func TestBadImages(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	a := cloud.Agent()
	good, err := os.ReadFile(filepath.Join(cloud.Dir, "images", filepath.Base(cloud.Demo())))
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]struct{ url, reason string }{
		"not there":      {cloud.URL + "/images/nothing.qcow2", "404"},
		"web page":       {cloud.Image("page.img", []byte("<!DOCTYPE html><title>Sign in</title>")), "a web page"},
		"qcow2 cut off":  {cloud.Image("half.qcow2", good[:len(good)-70_000]), "cut off"},
		"raw cut off":    {cloud.Image("half.raw", servertest.Disk(4)[:3<<20]), "cut off"},
		"wrong name":     {cloud.Image("raw.qcow2", servertest.Disk(1)), "it is not a qcow2 image"},
		"other format":   {cloud.Image("other.img", append([]byte("KDMV"), servertest.Disk(1)[4:]...)), "VMDK"},
		"not bootable":   {cloud.Image("empty.raw", make([]byte, 1<<20)), "not a bootable disk"},
		"empty":          {cloud.Image("none.img", nil), "empty"},
		"backing file":   {cloud.QCOW2("backed.qcow2", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", "-o", "size=1G", "-u"), "backing file"},
		"too large":      {cloud.QCOW2("large.qcow2", "create", "-q", "-f", "qcow2", "-o", "size=26G"), "needs 26 GiB, the VM has 25"},
		"private server": {"http://127.0.0.1/disk.qcow2", "not on the public internet"},
	} {
		anna := cloud.Customer("1")
		id := deploy(t, anna, wish(bad.url))[0]
		v := reach(t, anna, id, client.StatusFailed)
		if text := story(v); !strings.Contains(text, bad.reason) || !strings.Contains(text, "0.6 USDC were returned") {
			t.Errorf("%s: the story does not say %q and what was returned:\n%s", name, bad.reason, text)
		}
		if !strings.Contains(v.Reason, bad.reason) || v.ReservedBalance != "0" || v.TotalSpent != "0" {
			t.Errorf("%s: reason %q, reserved %s, spent %s", name, v.Reason, v.ReservedBalance, v.TotalSpent)
		}
		wantPurse(t, anna, money.USDC, 0, 0)
	}
	awaitEmpty(cloud, a)
}

// An image server that is in trouble is asked again, and the VM says so
// meanwhile.
func TestImageServerInTrouble(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	disk := servertest.Disk(2)
	var asked atomic.Int64
	url := serve(t, cloud, func(w http.ResponseWriter, _ *http.Request) {
		switch asked.Add(1) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2: // a connection that ends in the middle
			w.Header().Set("Content-Length", strconv.Itoa(len(disk)))
			_, _ = w.Write(disk[:1<<20])
		default:
			_, _ = w.Write(disk)
		}
	})
	cloud.Agent()
	anna := cloud.Customer("1")
	id := deploy(t, anna, wish(url))[0]
	cloud.Await("the VM says what it waits for", func() bool {
		v, err := anna.VM(t.Context(), id)
		return err == nil && strings.Contains(v.Reason, "503") && strings.Contains(v.Reason, "tried again")
	})
	if v := reach(t, anna, id, client.StatusActive); v.Reason != "" {
		t.Errorf("an active VM waits for %q", v.Reason)
	}
	if n := asked.Load(); n < 3 {
		t.Errorf("the image server was asked %d times, want at least 3", n)
	}
}

// A VM that does not get on is given up in the end, and costs nothing.
func TestLaunchIsGivenUp(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{TestClock: true})
	url := serve(t, cloud, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	a, anna := cloud.Agent(), cloud.Customer("1")
	id := deploy(t, anna, wish(url))[0]
	v := reach(t, anna, id, client.StatusLaunching)
	cloud.Await("the VM says what it waits for", func() bool {
		now, err := anna.VM(t.Context(), id)
		return err == nil && strings.Contains(now.Reason, "502")
	})
	if _, err := cloud.Operator.AdvanceClock(t.Context(), time.Until(*v.Deadline)); err != nil {
		t.Fatalf("advance clock: %v", err)
	}
	v = reach(t, anna, id, client.StatusFailed)
	if !strings.Contains(v.Reason, "could not be launched within 30m") || !strings.Contains(v.Reason, "502") {
		t.Errorf("reason %q", v.Reason)
	}
	wantPurse(t, anna, money.USDC, 0, 0)
	awaitEmpty(cloud, a)
}

// serve answers as an image server on the host that agents may fetch from, and
// returns the address of an image on it.
func serve(t *testing.T, c *servertest.Cloud, h http.HandlerFunc) (address string) {
	t.Helper()
	u, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	if err := s.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	if s.Listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", u.Hostname()+":0"); err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL + "/disk.raw"
}
