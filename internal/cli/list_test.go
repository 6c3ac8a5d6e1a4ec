package cli_test

import (
	"encoding/json"
	"path/filepath"
	"testing"
)

// Scripts find an id on the objects of every list.
func TestListsAsJSONHaveIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.putKey(t, "id_rsa.pub")
	for _, args := range [][]string{{"vm", "create", "web", "--image", "https://i.example/a.img"}, {"key", "add", filepath.Join(w.env["HOME"], ".ssh", "id_rsa.pub")}} {
		if code, _, stderr := w.run(t, args...); code != 0 {
			t.Fatalf("%v: exit code %d, %s", args, code, stderr)
		}
	}
	w.sells(t, "Example")
	w.cloud.market.offers = 3
	for _, args := range [][]string{{"offers"}, {"vm", "list"}, {"vm", "top"}, {"key", "list"}, {"image", "list"}, {"datacenter", "list"}, {"provider", "list"}, {"provider", "server", "list"}, {"account", "key", "list"}} {
		code, stdout, stderr := w.run(t, append(args, "-o", "json")...)
		var list []struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != 0 || len(list) == 0 {
			t.Errorf("%v: exit code %d, %v, %d objects, %s", args, code, err, len(list), stderr)
		}
		seen := map[string]bool{"": true}
		for _, o := range list {
			if seen[o.ID] {
				t.Errorf("%v: an object has no id of its own: %s", args, stdout)
			}
			seen[o.ID] = true
		}
	}
}
