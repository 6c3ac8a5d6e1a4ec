package wire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
	"github.com/cpucloud/cpucloud/internal/wire"
)

// exports answers every errand with what it was, or a failure.
type exports struct {
	server  string
	errand  vm.Errand
	failure error
}

const passed = "AGE-SECRET-KEY-1OFTHEEXPORT"

func (e *exports) RunErrand(_ context.Context, server string, errand vm.Errand) (vm.Pass, error) {
	e.server, e.errand = server, errand
	return vm.Pass{Link: "https://store.test/x?X-Amz-Signature=1", Identity: passed}, e.failure
}

var errand = vm.Errand{VM: "0xA", Export: "exp_1", Name: "manifest.json", Bytes: 7, MD5: bytes.Repeat([]byte{1}, 16)}

func TestErrand(t *testing.T) {
	t.Parallel()
	c, e := newControl(1), &exports{}
	var log bytes.Buffer
	client := join(t, c, direct{handler: wire.Handler(c, wire.Config{Exports: e, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})})
	p, err := client.Errand(t.Context(), errand)
	if err != nil || p.Identity != passed || e.server != "srv_1" || fmt.Sprint(e.errand) != fmt.Sprint(errand) {
		t.Errorf("answered %q, %v; control was asked %+v for %s", p.Identity, err, e.errand, e.server)
	}
	e.failure = fault.New(fault.NotFound, "nothing is made of it")
	if p, err := client.Errand(t.Context(), errand); !fault.Is(err, fault.NotFound) || p != (vm.Pass{}) {
		t.Errorf("answered %+v, %v; want a NotFound fault", p, err)
	}
	if text := log.String(); strings.Contains(text, passed) || strings.Contains(text, "X-Amz") {
		t.Errorf("the log tells it: %s", text)
	}
	nobody := join(t, newControl(1), direct{})
	if _, err := nobody.Errand(t.Context(), errand); !fault.Is(err, fault.NotFound) {
		t.Errorf("where there is no store: %v, want a NotFound fault", err)
	}
}

// What is no errand, or not the agent's own, is refused before anybody is asked.
func TestErrandsThatAreNone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		errand vm.Errand
		change func(*http.Request)
		kind   fault.Kind
	}{
		"no checksum of 16 bytes": {vm.Errand{VM: "0xA", Name: "x", Bytes: 7, MD5: []byte{1}}, nil, fault.Invalid},
		"nothing to store":        {vm.Errand{VM: "0xA", Name: "x", MD5: errand.MD5}, nil, fault.Invalid},
		"less than nothing":       {vm.Errand{VM: "0xA", Name: "x", Bytes: -1, MD5: errand.MD5}, nil, fault.Invalid},
		"another server's":        {errand, func(r *http.Request) { r.Header.Set("Cpucloud-Server", "srv_2") }, fault.Denied},
		"another body": {errand, func(r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte("exp_1"), []byte("exp_2"), 1)))
		}, fault.Denied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, e := newControl(1), &exports{}
			client := join(t, c, direct{handler: wire.Handler(c, wire.Config{Exports: e}), before: tt.change})
			_, err := client.Errand(t.Context(), tt.errand)
			if name == "another server's" && errors.Is(err, wire.ErrForged) {
				err = fault.New(fault.Denied, "the answer is for another server")
			}
			if !fault.Is(err, tt.kind) || e.server != "" {
				t.Errorf("got %v, want a fault of kind %s; asked for %q", err, tt.kind, e.server)
			}
		})
	}
}

// An answer that the control plane did not sign for this errand is none.
func TestForgedPass(t *testing.T) {
	t.Parallel()
	c := newControl(1)
	client := join(t, c, direct{handler: wire.Handler(c, wire.Config{Exports: &exports{}}), tamper: func(r *http.Response) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte("store.test"), []byte("thief.test"), 1)))
	}})
	if p, err := client.Errand(t.Context(), errand); !errors.Is(err, wire.ErrForged) || p != (vm.Pass{}) {
		t.Errorf("got %+v, %v; want ErrForged", p, err)
	}
}

// What is told of exports is bounded.
func TestGarbageOfExports(t *testing.T) {
	t.Parallel()
	client := join(t, newControl(1), direct{})
	for i, list := range [][]vm.ExportSeen{
		make([]vm.ExportSeen, 65),
		{{ID: ""}},
		{{ID: strings.Repeat("x", 65)}},
		{{ID: "exp_1", Through: -1}},
		{{ID: "exp_1", Manifest: strings.Repeat("0", 65)}},
		{{ID: "exp_1", Reason: strings.Repeat("x", 2049)}},
	} {
		report := vm.Report{Sequence: int64(i + 1), VMs: []vm.Sighting{{ID: "0xA", Phase: vm.Ready, Exports: list}}}
		if _, _, err := client.Sync(t.Context(), report, vm.List{}, 0); !fault.Is(err, fault.Invalid) {
			t.Errorf("report %d: %v, want an Invalid fault", i, err)
		}
	}
}
