// Package server is one control-plane process: it opens the store, starts the
// loops and the listener, and stops them in order.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/api"
	"github.com/cpucloud/cpucloud/internal/archive/s3"
	"github.com/cpucloud/cpucloud/internal/console"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/wire"
)

// Config is what a control-plane process needs.
type Config struct {
	Listen    string // host:port; port 0 chooses a free one
	PublicURL string // how clients reach it, "" for http://Listen, https:// with TLS
	Database  string // postgres://…, or the path of a SQLite file
	Images    string // folder of images to serve at /images/, "" for none
	Version   string
	TLSCert   string // file of the certificate and its chain, "" for plain HTTP
	TLSKey    string // file of its key

	Epoch     time.Duration // billing period of new VMs
	Grace     time.Duration // how long a VM runs on with an epoch unpaid
	Retention time.Duration // how long the disk of an unpaid VM is kept
	// KeepDeleted is how long the disk of a deleted VM is kept; 0 for not at all.
	KeepDeleted time.Duration
	// KeepDisks is how long a disk is kept that a VM ran on before.
	KeepDisks time.Duration
	// RescueImage is the URL of what VMs in rescue run; "" for one of the default images.
	RescueImage string
	// AddressRest is how long an address that a VM has left is given to no other account.
	AddressRest time.Duration
	Fee         control.Fee // of what providers earn
	TestClock   bool        // let operators move the clock forward

	Limits  payment.Limits          // of deposits and withdrawals
	Sources []control.PaymentSource // of payments, besides operators

	Archive      *s3.Store            // where exports are kept; nil for nowhere
	ExportLimits control.ExportLimits // of one account

	Simulation    bool          // let operators add simulated servers
	SimulatedBoot time.Duration // until a VM on one of them is Active

	Now  func() time.Time
	Rand io.Reader
	Log  *slog.Logger
}

// Server is a running control plane.
type Server struct {
	Control *control.Service
	URL     string // how clients reach it

	store       *store.Store
	http        *http.Server
	certificate *certificate // nil for plain HTTP
	images      *imageFolder
	cancel      context.CancelFunc
	served      chan error
	looped      chan struct{}
}

// launchWithin is how long a VM may wait for a next step of its launch. A large
// image over a thin line takes its time; a guest that never answers is Active
// after 10 minutes anyway.
const launchWithin = 30 * time.Minute

// Start opens everything and returns once requests are answered. ctx bounds the
// start alone; Stop ends the server.
func Start(ctx context.Context, c Config) (_ *Server, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fault.Newf(fault.Unavailable, "can't listen on %s: %v; choose another address with --listen", c.Listen, reason(err))
	}
	s := &Server{URL: c.PublicURL, served: make(chan error, 1), looped: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, listener.Close(), s.close())
		}
	}()
	if s.certificate, err = openCertificate(c.TLSCert, c.TLSKey, c.Log); err != nil {
		return nil, err
	}
	if s.URL == "" {
		s.URL = s.scheme() + "://" + listener.Addr().String()
	}
	if s.images, err = openImages(c.Images); err != nil {
		return nil, err
	}
	if s.store, err = store.Open(ctx, c.Database); err != nil {
		return nil, err
	}
	offered := defaultImages(s.URL, s.images.has(demoImage))
	clock := newClock(c.Now, c.TestClock)
	s.Control, err = control.New(ctx, control.Config{
		Store: s.store, Now: clock.Now, Wall: c.Now, Rand: c.Rand, Log: c.Log, Epoch: c.Epoch, Grace: c.Grace, Retention: c.Retention, KeepDeleted: c.KeepDeleted, KeepDisks: c.KeepDisks, AddressRest: c.AddressRest, Fee: c.Fee, Limits: c.Limits, Sources: c.Sources, Launch: launchWithin,
		Images: offered, RescueImage: cmp.Or(c.RescueImage, rescueImage(offered)), Advance: clock.advance(),
		Archive: c.Archive, ExportLimits: c.ExportLimits,
		Simulation: c.Simulation, SimulatedBoot: c.SimulatedBoot,
	})
	if err != nil {
		return nil, err
	}
	s.run(ctx, c, listener)
	return s, nil
}

func (s *Server) run(ctx context.Context, c Config, listener net.Listener) {
	loops, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	s.http = &http.Server{
		Handler:           s.handler(c),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      3 * time.Minute, // longer than any long poll
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return loops },
	}
	go func() { s.served <- s.serve(listener) }()
	go func() {
		defer close(s.looped)
		s.Control.Run(loops)
	}()
}

func (s *Server) serve(listener net.Listener) error {
	if s.certificate == nil {
		return s.http.Serve(listener)
	}
	s.http.TLSConfig = s.certificate.config()
	return s.http.ServeTLS(listener, "", "")
}

func (s *Server) scheme() string {
	if s.certificate == nil {
		return "http"
	}
	return "https"
}

// handler is the whole route table of the process.
func (s *Server) handler(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", api.New(s.Control, api.Config{Log: c.Log, Version: c.Version}))
	mux.Handle("GET /{$}", console.Handler(s.Control, console.Config{Version: c.Version, Log: c.Log}))
	mux.Handle("GET /console/", console.Handler(s.Control, console.Config{Version: c.Version, Log: c.Log}))
	mux.Handle("/agent/", wire.Handler(s.Control, wire.Config{Log: c.Log, Consoles: s.Control, Meters: s.Control, Exports: s.Control}))
	mux.Handle("GET /images/", s.images)
	return mux
}

// Failed receives the error that ended the listener by itself.
func (s *Server) Failed() <-chan error { return s.served }

// grace is how long requests may go on when the server stops before those that
// wait for news are answered without any.
const grace = 300 * time.Millisecond

// Stop lets running requests finish until ctx is done, then stops the loops and
// closes the store.
func (s *Server) Stop(ctx context.Context) error {
	waiting := time.AfterFunc(grace, s.cancel)
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("stop listener: %w", err), s.http.Close())
	}
	waiting.Stop()
	s.cancel()
	<-s.looped
	return errors.Join(err, s.close())
}

func (s *Server) close() (err error) {
	if s.store != nil {
		err = s.store.Close()
	}
	return errors.Join(err, s.images.close())
}

// reason returns the innermost text of a network error.
func reason(err error) string {
	text := err.Error()
	return text[strings.LastIndex(text, ": ")+1:]
}
