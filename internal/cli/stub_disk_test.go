package cli_test

import (
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// turning are the verbs that start a VM on another disk.
var turning = []string{"reinstall", "return", "rescue", "unrescue"}

// turn does what is asked of the disks of a VM. Any has the same ones.
func (s *stub) turn(w http.ResponseWriter, r *http.Request, body doc) {
	switch word := path.Base(r.URL.Path); {
	case r.Method == http.MethodDelete && word == "0":
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodDelete, strings.HasSuffix(r.URL.Path, "/9/return"):
		refuse(w, http.StatusNotFound, "no disk 9 of VM web is kept")
	case r.Method == http.MethodGet:
		answer(w, http.StatusOK, []doc{
			{"number": 0, "current": false, "image": "https://images.example/demo.qcow2", "sizeGiB": 25, "keptUntil": "2026-02-01T12:00:30Z", "purging": false},
			{"number": 3, "current": false, "image": nil, "sizeGiB": 25, "keptUntil": "2026-02-01T12:00:30Z", "purging": true},
			{"number": 4, "current": true, "image": "https://images.example/next.qcow2", "sizeGiB": 25, "keptUntil": nil, "purging": false},
		})
	default:
		s.asked = body
		s.operate(w, r)
		if i := s.find(vmOf(r)); i >= 0 {
			s.vms[i]["rescue"] = map[string]any{"rescue": doc{"since": "2026-01-31T12:00:00Z", "image": "https://images.example/ubuntu.img"}}[word]
		}
	}
}

// asked checks that the last operation was asked for with words in its body.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value("stub").(*stub)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, word := range args {
		if strings.Contains(fmt.Sprint(s.asked), word) == neg {
			ts.Fatalf("asked for %v; %q is in it: %t", s.asked, word, !neg)
		}
	}
}
