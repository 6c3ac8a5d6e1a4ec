package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// floorKey is the one key that the floor's server knows.
const floorKey = "bench"

// serveFloor answers authenticated requests with a body of JSON by a small
// answer: the least that an API over net/http does. It writes where it listens.
func serveFloor(ctx context.Context, out io.Writer) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for i := range 60 { // as many as an API has
		mux.HandleFunc(fmt.Sprintf("GET /v1/resource%d/{id}", i), answerSmall)
	}
	keys := map[[sha256.Size]byte]string{sha256.Sum256([]byte(floorKey)): "account"}
	mux.HandleFunc("POST /v1/offers", func(w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if keys[sha256.Sum256([]byte(key))] == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var body struct {
			Configuration string `json:"basicConfiguration"`
			Country       []string
		}
		if json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&body) != nil {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		answerSmall(w, r)
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() }) // ends Serve
	defer stop()
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		return err
	}
	if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func answerSmall(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct { // who is gone needs no answer
		Status string `json:"status"`
		ID     int    `json:"id"`
	}{"ok", 7})
}
