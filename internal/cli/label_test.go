package cli_test

import (
	"reflect"
	"strings"
	"testing"
)

// A verb that is for VMs with labels names them before it does anything.
func TestVerbsAskNamingWhatTheyTouch(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"delete", "reboot", "reset", "protect", "unprotect", "label"} {
		for answer, does := range map[string]bool{"n\n": false, "\n": false, "y\n": true} {
			w := newWorld(t)
			for _, name := range []string{"web", "db", "other"} {
				w.cloud.add(name, "Active")
				if code, _, stderr := w.run(t, "vm", "label", name, "env="+name[:1]); code != 0 {
					t.Fatal(stderr)
				}
			}
			w.terminal, w.stdin = true, answer
			args := []string{"vm", verb, "-l", "env in (w,d)"}
			if verb == "label" {
				args = append(args, "new=1")
			}
			code, stdout, stderr := w.run(t, args...)
			if code != 0 || !strings.Contains(stderr, "2 VMs") || !strings.Contains(stderr, ": web, db") || strings.Contains(stderr, "other") {
				t.Errorf("%s: exit code %d, asked %q", verb, code, stderr)
			}
			if did := strings.Contains(stdout, "web"); did != does {
				t.Errorf("%s after %q: done is %t: %s", verb, answer, did, stdout)
			}
		}
	}
}

// Only the newer route knows labels: the older one would take the VM without.
func TestCreateSendsLabels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.putKey(t, "id_ed25519.pub")
	code, _, stderr := w.run(t, "vm", "create", "web", "--image", "https://own.example/a.img", "--label", "env=prod", "--label", "owner=")
	if want := (doc{"env": "prod", "owner": ""}); code != 0 || len(w.cloud.placed) != 1 || !reflect.DeepEqual(w.cloud.placed[0]["labels"], want) {
		t.Errorf("exit code %d, sent %v: %s", code, w.cloud.placed, stderr)
	}
	if code, _, _ := w.run(t, "vm", "create", "web", "--image", "https://own.example/a.img", "--label", "env=prod", "--label", "env=test"); code != 2 {
		t.Errorf("a key with two values: exit code %d", code)
	}
}
