// Package console is what people see in a browser: pages that the server
// renders, over control.
package console

import (
	"bytes"
	"context"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Config is what the console needs besides control.
type Config struct {
	Version string // of the program
	Log     *slog.Logger
}

//go:embed assets
var assets embed.FS

var start = template.Must(template.ParseFS(assets, "assets/start.html"))

// policy lets a page use what comes from this server and nothing else: no
// script or style out of the page itself.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

type console struct {
	Config
	control *control.Service
}

// Handler serves the start page at / and what it needs below /console/.
func Handler(c *control.Service, config Config) http.Handler {
	s := &console{Config: config, control: c}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.start)
	mux.HandleFunc("GET /console/style.css", asset("assets/style.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /console/icon.svg", asset("assets/icon.svg", "image/svg+xml"))
	return headers(mux)
}

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

func asset(name, contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := assets.ReadFile(name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "max-age=3600")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

// facts is what the start page says: only what any stranger may know.
type facts struct {
	Version     string
	URL         string
	Sizes       []size
	Datacenters []market.Datacenter
	Images      []control.Image
}

// size is a basic configuration at its lowest price.
type size struct {
	market.Configuration
	Price money.Amount
	Place string
	Free  int64
}

func (s *console) start(w http.ResponseWriter, r *http.Request) {
	f, err := s.facts(r.Context())
	var page bytes.Buffer
	if err == nil {
		f.URL = "http://" + r.Host
		if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
			f.URL = "https://" + r.Host
		}
		err = start.Execute(&page, f)
	}
	if err != nil {
		s.Log.ErrorContext(r.Context(), "start page", "error", err)
		http.Error(w, "This page can't be shown at the moment. The API is at /docs.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(page.Bytes()) // a browser that went away needs no page
}

func (s *console) facts(ctx context.Context) (facts, error) {
	f := facts{Version: s.Version, Images: s.control.Images}
	var err error
	if f.Sizes, err = s.cheapest(); err != nil {
		return f, err
	}
	f.Datacenters, err = s.control.Datacenters(ctx)
	return f, err
}

// cheapest returns every size that is free where it costs least, smallest first.
func (s *console) cheapest() ([]size, error) {
	list := []size{}
	for _, c := range market.Configurations() {
		err := s.control.Offers(market.Constraints{Configuration: c.Slug()}, func(m *market.Match) bool {
			list = append(list, size{Configuration: c, Price: m.Price, Place: m.Offer.Datacenter.Slug(), Free: m.Instances})
			return false
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}
