package seed_test

import (
	"errors"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/cpucloud/cpucloud/internal/image/seed"
	"github.com/cpucloud/cpucloud/internal/userdata"
)

// vendor returns the parts of vendor data by their type, as cloud-init takes them
// apart: a message is known by its MIME-Version header.
func vendor(t *testing.T, text string) map[string]string {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil || m.Header.Get("Mime-Version") != "1.0" {
		t.Fatalf("vendor data is no message: %v\n%s", err, text)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		parts[part.Header.Get("Content-Type")] = string(content)
	}
}

// merged is what a guest makes of vendor data and user data, by the rules of
// https://docs.cloud-init.io/en/latest/reference/merging.html: a key of user data
// stands, and mappings are merged key by key.
func merged(vendor, user map[string]any) map[string]any {
	out := maps.Clone(vendor)
	for k, v := range user {
		below, ours := out[k].(map[string]any)
		above, theirs := v.(map[string]any)
		if ours && theirs {
			v = merged(below, above)
		}
		out[k] = v
	}
	return out
}

func decode(t *testing.T, text string) (m map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return m
}

// User data is the customer's, to the byte; who the VM is and who may log in is not
// for it to say, and what it leaves open is as we want it.
func TestUserDataBesideOurs(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		user userdata.Text
		want map[string]any // what the guest makes of it
	}{
		"script": {"#!/bin/sh\r\n\ttrue \n\n", map[string]any{"ssh_pwauth": false, "resize_rootfs": true, "preserve_hostname": false}},
		"config": {"#cloud-config\nssh_pwauth: true\ngrowpart: {mode: false}\nruncmd: [reboot]\n", map[string]any{
			"ssh_pwauth": true, "resize_rootfs": true, "growpart": map[string]any{"mode": false, "devices": []any{"/"}}, "runcmd": []any{"reboot"},
		}},
	} {
		s := example()
		s.UserData = tt.user
		files := write(t, s)
		if files["user-data"] != string(tt.user) {
			t.Errorf("%s: user-data is %q", name, files["user-data"])
		}
		meta := decode(t, files["meta-data"])
		if keys, _ := meta["public-keys"].([]any); len(keys) != 1 || keys[0] != s.SSHKeys[0] || meta["local-hostname"] != s.Hostname || meta["instance-id"] != s.InstanceID {
			t.Errorf("%s: meta-data is %v", name, meta)
		}
		parts := vendor(t, files["vendor-data"])
		if len(parts) != 2 || !strings.HasPrefix(parts["text/cloud-config"], "#cloud-config\n") || !strings.HasPrefix(parts["text/x-shellscript"], "#!/bin/sh\n") {
			t.Fatalf("%s: vendor-data is %q", name, parts)
		}
		user := map[string]any{}
		if strings.HasPrefix(string(tt.user), "#cloud-config") {
			user = decode(t, string(tt.user))
		}
		got := merged(decode(t, parts["text/cloud-config"]), user)
		for key, value := range tt.want {
			if text(t, got[key]) != text(t, value) {
				t.Errorf("%s: a guest takes %s as %v, want %v", name, key, got[key], value)
			}
		}
		for _, key := range []string{"hostname", "ssh_authorized_keys", "runcmd", "bootcmd"} {
			if _, ours := decode(t, parts["text/cloud-config"])[key]; ours {
				t.Errorf("%s: vendor data says %s, which user data could take away", name, key)
			}
		}
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	out, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// Without user data a guest is told all of ours in the file that every reader of
// seeds knows, and the same in vendor data.
func TestNoUserData(t *testing.T) {
	t.Parallel()
	files := write(t, example())
	user, ours := decode(t, files["user-data"]), decode(t, vendor(t, files["vendor-data"])["text/cloud-config"])
	for key, value := range ours {
		if text(t, user[key]) != text(t, value) {
			t.Errorf("user-data has %s as %v, vendor-data as %v", key, user[key], value)
		}
	}
	if len(user) != len(ours)+2 {
		t.Errorf("user-data has %d members, vendor-data %d: want host name and keys besides", len(user), len(ours))
	}
}

// Several cards are told apart by their MACs, and only those with a gateway lead
// further than their own network.
func TestSeveralCards(t *testing.T) {
	t.Parallel()
	s := example()
	s.Others = []seed.Network{
		{MAC: "52:54:00:00:00:02", Address: netip.MustParsePrefix("10.0.0.5/24"), Address6: netip.MustParsePrefix("fd00::5/64")},
		{MAC: "52:54:00:00:00:03", DHCP: true},
	}
	cards, _ := decode(t, write(t, s)["network-config"])["ethernets"].(map[string]any)
	if len(cards) != 3 {
		t.Fatalf("cards %v", cards)
	}
	card := func(name string) map[string]any { c, _ := cards[name].(map[string]any); return c }
	for name, mac := range map[string]string{"eth0": s.Network.MAC, "eth1": "52:54:00:00:00:02", "eth2": "52:54:00:00:00:03"} {
		match, _ := card(name)["match"].(map[string]any)
		if match["macaddress"] != mac || card(name)["set-name"] != name {
			t.Errorf("%s is %v, want MAC %s", name, card(name), mac)
		}
	}
	if card("eth0")["routes"] == nil || card("eth1")["routes"] != nil || card("eth2")["dhcp4"] != true {
		t.Errorf("cards %v", cards)
	}
	if got, want := text(t, card("eth1")["addresses"]), "- 10.0.0.5/24\n- fd00::5/64\n"; got != want {
		t.Errorf("addresses %q, want %q", got, want)
	}
}

// A card's MAC is text as any other: nothing of it becomes configuration.
func TestCardsAreChecked(t *testing.T) {
	t.Parallel()
	s := example()
	s.Others = []seed.Network{{MAC: "52:54:00\ndhcp4: true"}}
	if err := seed.Write(io.Discard, s); err == nil {
		t.Error("a MAC with a line's end was taken")
	}
}

// A guest gets another machine id at its first boot when its disk was another
// instance's before, and only then.
func TestFirstBootGivesCopiesAnotherMachineID(t *testing.T) {
	t.Parallel()
	files := write(t, example())
	script := vendor(t, files["vendor-data"])["text/x-shellscript"]
	for before, copied := range map[string]bool{"": false, "NO_PREVIOUS_INSTANCE_ID\n": false, "0xabc\n": true} {
		dir := t.TempDir()
		for _, folder := range []string{"/etc", "/var/lib/cloud/data", "/var/lib/dbus"} {
			if err := os.MkdirAll(dir+folder, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		const old = "0123456789abcdef0123456789abcdef\n"
		for name, text := range map[string]string{"/etc/machine-id": old, "/var/lib/dbus/machine-id": old, "/var/lib/cloud/data/previous-instance-id": before} {
			if err := os.WriteFile(dir+name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		run := strings.NewReplacer("/etc/", dir+"/etc/", "/var/", dir+"/var/", "/dev/", dir+"/dev/").Replace(script)
		cmd := exec.CommandContext(t.Context(), "sh", "-eu")
		cmd.Stdin = strings.NewReader(run)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("script: %v: %s", err, out)
		}
		now, err := os.ReadFile(dir + "/etc/machine-id")
		if err != nil {
			t.Fatal(err)
		}
		dbus, err := os.ReadFile(dir + "/var/lib/dbus/machine-id")
		if err != nil || string(dbus) != string(now) {
			t.Errorf("dbus has %q, %v, want %q", dbus, err, now)
		}
		if changed := string(now) != old; changed != copied || len(now) != len(old) {
			t.Errorf("after the instance %q the machine id is %q, was %q", before, now, old)
		}
	}
}
