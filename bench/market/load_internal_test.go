package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// answering is a cloud that refuses what says so, and makes a VM otherwise.
func answering(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case err != nil || r.Header.Get("Authorization") != "Bearer key":
			w.WriteHeader(http.StatusUnauthorized)
		case strings.Contains(string(body), "refuse"):
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, `{"error": "No suitable offer found"}`)
		default:
			fmt.Fprintf(w, `[{"vmId": %s}]`, body)
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestLoad(t *testing.T) {
	t.Parallel()
	address := answering(t)
	do := func(change func(*task)) (outcome, error) {
		job := task{
			Address: address, Path: "/vms/v3", Key: "key", Bodies: []json.RawMessage{[]byte(`"a"`), []byte(`"refuse"`), []byte(`"c"`)},
			First: 2, Clients: 1, For: time.Minute, Most: 6, Deploys: true,
		}
		change(&job)
		in, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		var o outcome
		if err := serveLoad(t.Context(), bytes.NewReader(in), &text); err != nil {
			return o, err
		}
		return o, json.Unmarshal(text.Bytes(), &o)
	}
	o, err := do(func(*task) {})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(o.Made, len(o.Took), o.Refused), "[{2 c} {0 a} {2 c} {0 a}] 4 2"; got != want {
		t.Errorf("one client made %s, want %s", got, want)
	}
	if o, err = do(func(job *task) { job.Clients = 4 }); err != nil || len(o.Made)+o.Refused != 6 {
		t.Errorf("four clients made %v and were refused %d: %v; want 6 answers in all", o.Made, o.Refused, err)
	}
	if _, err := do(func(job *task) { job.Key = "another" }); err == nil {
		t.Error("an answer that is no success passes")
	}
}
