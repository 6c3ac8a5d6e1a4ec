package api

import (
	"bytes"
	"embed"
	"encoding/json"
	"net/http"
	"time"

	"github.com/swaggest/swgui/v5emb"
)

// The page around Swagger UI is our own: it runs no script out of the page
// itself, so that the Content-Security-Policy can forbid that.
//
//go:embed docs/index.html docs/start.js
var docsPage embed.FS

const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// serveDocument serves the document and Swagger UI.
func (a *api) serveDocument() {
	a.serveBytes("/docs/openapi.json", "application/json", func() ([]byte, error) { return json.MarshalIndent(a.document, "", "  ") })
	a.serveBytes("/docs/openapi.yaml", "application/yaml", a.document.YAML)
	a.serveBytes("/docs/start.js", "text/javascript; charset=utf-8", func() ([]byte, error) { return docsPage.ReadFile("docs/start.js") })
	page := func() ([]byte, error) { return docsPage.ReadFile("docs/index.html") }
	a.serveBytes("/docs", "text/html; charset=utf-8", page)
	a.serveBytes("/docs/{$}", "text/html; charset=utf-8", page)
	assets := v5emb.New("CPU Cloud", "/docs/openapi.json", "/docs/")
	for _, name := range []string{"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"} {
		a.mux.HandleFunc("GET /docs/"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=3600")
			assets.ServeHTTP(w, r)
		})
	}
}

// serveBytes serves what make returns, which is called once.
func (a *api) serveBytes(path, contentType string, make func() ([]byte, error)) {
	body, err := make()
	a.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		if err != nil {
			a.refuse(w, r, err)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Security-Policy", docsPolicy)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
}
