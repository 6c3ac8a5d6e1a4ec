package seed_test

import (
	"bytes"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/seed"
)

// Whatever a customer calls a VM and its keys, a guest reads exactly that, and
// nothing else is told to it: no line of text becomes one of configuration.
func FuzzSeed(f *testing.F) {
	f.Add("web-1", "ssh-ed25519 AAAAC3Nza me@example.org", "0xabc")
	f.Add("1e3", "on", "null")
	f.Add("a: b", `"]
runcmd: [reboot]`, "0x1")
	f.Add("#cloud-config", "key \u2028 with line separators", "*alias")
	f.Add("\\\"", "!!binary aGk=", "\xff\xfe")
	f.Fuzz(func(t *testing.T, hostname, key, instance string) {
		s := example()
		s.Hostname, s.SSHKeys, s.InstanceID = hostname, []string{key, "ssh-ed25519 second"}, instance
		var b bytes.Buffer
		if err := seed.Write(&b, s); err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v, want an Invalid fault", err)
			}
			return
		}
		files := read(t, b.Bytes())
		if len(files) != 4 || !strings.HasPrefix(files["user-data"], "#cloud-config\n") {
			t.Fatalf("files %v", files)
		}
		var user, meta map[string]any
		if err := yaml.Unmarshal([]byte(files["user-data"]), &user); err != nil {
			t.Fatalf("user-data: %v", err)
		}
		if err := yaml.Unmarshal([]byte(files["meta-data"]), &meta); err != nil {
			t.Fatalf("meta-data: %v", err)
		}
		keys, _ := user["ssh_authorized_keys"].([]any)
		if len(user) != 9 || user["hostname"] != hostname || len(keys) != 2 || keys[0] != key || keys[1] != "ssh-ed25519 second" {
			t.Errorf("a guest reads %v", user)
		}
		public, _ := meta["public-keys"].([]any)
		if len(meta) != 3 || len(public) != 2 || public[0] != key || meta["instance-id"] != instance || meta["local-hostname"] != hostname {
			t.Errorf("a guest reads %v", meta)
		}
	})
}
