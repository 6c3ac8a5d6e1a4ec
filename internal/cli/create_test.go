package cli_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

const keyLine = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI ada@laptop"

// putKey gives the user a public key.
func (w *world) putKey(t *testing.T, name string) {
	t.Helper()
	dir := filepath.Join(w.env["HOME"], ".ssh")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(keyLine+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCreateSendsWhatTheFlagsSay(t *testing.T) {
	t.Parallel()
	for flags, want := range map[string]doc{
		"": {
			"instances":       1.0,
			"vmConfiguration": doc{"name": "web", "osImage": "https://images.example/demo.qcow2", "sshKeys": []any{keyLine}},
		},
		"--image Ubuntu-24-04-x64 --ssh-key laptop --ssh-key SHA256:abc --ssh-key ~/.ssh/id_ed25519.pub --port 80,443 --port 53/UDP --hostname h.example": {
			"instances": 1.0,
			"vmConfiguration": doc{
				"name": "web", "osImage": "https://images.example/noble.qcow2", "sshKeys": []any{"laptop", "SHA256:abc", keyLine}, "hostname": "h.example",
				"openPorts": []any{doc{"port": 80.0, "protocol": "tcp"}, doc{"port": 443.0, "protocol": "tcp"}, doc{"port": 53.0, "protocol": "udp"}},
			},
		},
		"-n 2 --image https://own.example/a.img --config c --country US,DE --cpu AMD,Intel --arch Zen --memory DDR5 --storage-type NVMe --extra-storage 50GiB --max-price 1.5": {
			"instances": 2.0,
			"constraints": doc{
				"basicConfiguration": "c", "datacenter": doc{"countries": []any{"US", "DE"}}, "maxTotalPricePerEpochUsd": "1.5",
				"hardware": doc{
					"cpu":    []any{doc{"manufacturer": "AMD", "architecture": "Zen"}, doc{"manufacturer": "Intel", "architecture": "Zen"}},
					"memory": []any{doc{"type": "DDR", "generation": "5"}}, "storage": []any{doc{"type": "NVMe"}},
				},
				"additionalResources": doc{"storage": []any{doc{"supply": 50.0, "units": "GiB", "type": "NVMe"}}},
			},
			"vmConfiguration": doc{"name": "web", "osImage": "https://own.example/a.img", "sshKeys": []any{keyLine}},
		},
	} {
		w := newWorld(t)
		w.putKey(t, "id_ed25519.pub")
		code, _, stderr := w.run(t, append([]string{"vm", "create", "web"}, strings.Fields(flags)...)...)
		if code != 0 || len(w.cloud.deployed) != 1 || len(w.cloud.placed) != 0 {
			t.Errorf("%s: exit code %d, %d requests, %d of them to /v1/vms: %s", flags, code, len(w.cloud.deployed), len(w.cloud.placed), stderr)
			continue
		}
		got := w.cloud.deployed[0]
		if id, _ := got["requestId"].(string); !regexp.MustCompile(`^cli-[0-9a-f]{32}$`).MatchString(id) {
			t.Errorf("%s: requestId %q", flags, id)
		}
		delete(got, "requestId")
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: sent\n%v, want\n%v", flags, got, want)
		}
	}
}

// Only the newer route knows checksums: the older one would take the VM without.
func TestCreateSendsTheChecksum(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.putKey(t, "id_ed25519.pub")
	sum := "sha256:" + strings.Repeat("0a", 32)
	code, _, stderr := w.run(t, "vm", "create", "web", "--image", "https://own.example/a.img", "--image-checksum", sum)
	if code != 0 || len(w.cloud.placed) != 1 || len(w.cloud.deployed) != 1 || w.cloud.placed[0]["imageChecksum"] != sum {
		t.Errorf("exit code %d, sent %v: %s", code, w.cloud.placed, stderr)
	}
}

// Only the newer route knows user data. It is read out of a file or of standard
// input, so that it is in no command line, and is sent as it is.
func TestCreateSendsUserData(t *testing.T) {
	t.Parallel()
	const script = "#!/bin/sh\necho hunter2 <&> é\n"
	for _, dry := range []bool{false, true} {
		w := newWorld(t)
		w.putKey(t, "id_ed25519.pub")
		w.stdin = script
		file := filepath.Join(t.TempDir(), "setup.sh")
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		for n, from := range []string{"-", file} {
			args := []string{"vm", "create", "web", "--image", "https://own.example/a.img", "--user-data", from}
			if dry {
				args = append(args, "--dry-run")
			}
			code, stdout, stderr := w.run(t, args...)
			sent := w.cloud.placed
			if dry {
				sent = w.cloud.rehearsed
			}
			if code != 0 || len(sent) != n+1 || sent[n]["userData"] != script {
				t.Errorf("exit code %d, sent %v: %s", code, sent, stderr)
			}
			if strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("shown: %s%s", stdout, stderr)
			}
		}
	}
}

// TestCreateRefusesBeforeItAsks: what can be seen to be wrong never leaves the
// machine.
func TestCreateRefusesBeforeItAsks(t *testing.T) {
	t.Parallel()
	for flags, says := range map[string]string{
		"--port 0":               "port \"0\"",
		"--port 80/sctp":         "port \"80/sctp\"",
		"--port http":            "port \"http\"",
		"--extra-storage 0":      "1 GiB or more",
		"--extra-storage 1TB":    "is not GiB",
		"--max-price -1":         "price limit \"-1\"",
		"--ssh-key /nonexistent": "no file /nonexistent",
		"--ssh-key ~/.ssh":       "is no file",
		"--image-checksum md5:0": "is not sha256:",
		"--user-data /nonexist":  "user data can't be read",
		"--user-data -":          "userData is not well-formed YAML near line 2",
		"extra":                  "accepts 1 arg",
	} {
		w := newWorld(t)
		w.putKey(t, "id_rsa.pub")
		w.env["CPUCLOUD_URL"] = "http://127.0.0.1:1"
		w.stdin = "#cloud-config\n- hunter2: [\n"
		code, _, stderr := w.run(t, append([]string{"vm", "create", "web"}, strings.Fields(flags)...)...)
		if code != 2 && code != 4 || !strings.Contains(stderr, says) || strings.Contains(stderr, "hunter2") {
			t.Errorf("%s: exit code %d, stderr %q; want …%s…", flags, code, stderr, says)
		}
	}
}

func TestCreateIsRepeatedWhileTheCloudStarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.putKey(t, "id_ecdsa.pub")
	w.cloud.down = 2
	if code, _, stderr := w.run(t, "vm", "create", "web"); code != 0 || len(w.cloud.vms) != 1 {
		t.Errorf("exit code %d, %d VMs: %s", code, len(w.cloud.vms), stderr)
	}
}

// TestLostAnswer: the cloud may have made the VM, so the user is told how to find out.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.putKey(t, "id_rsa.pub")
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {
		panic(http.ErrAbortHandler) // cuts the connection
	}))
	t.Cleanup(server.Close)
	w.env["CPUCLOUD_URL"] = server.URL
	code, _, stderr := w.run(t, "vm", "create", "web", "--image", "https://i.example/a.img", "--request-id", "r-1")
	if code != 7 || !strings.Contains(stderr, "Repeat the command with --request-id r-1") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestSeveralAreWaitedForAndAllArePrinted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.putKey(t, "id_rsa.pub")
	code, stdout, stderr := w.run(t, "vm", "create", "bad", "-n", "2", "--wait", "-o", "json")
	if code != 3 || strings.Count(stdout, `"status": "Failed"`) != 2 || strings.Count(stderr, "error: VM bad is Failed") != 2 {
		t.Errorf("exit code %d, stdout %s, stderr %s; want both failures", code, stdout, stderr)
	}
	code, stdout, stderr = w.run(t, "vm", "create", "web", "-n", "2", "--wait")
	if code != 0 || strings.Count(stdout, "Active") != 2 || strings.Count(stderr, "Connect: cpucloud vm ssh 0x") != 2 {
		t.Errorf("exit code %d, stdout %s, stderr %s; want both, named by their ids", code, stdout, stderr)
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.putKey(t, "id_rsa.pub")
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("wait") {
			cancel()
			<-r.Context().Done()
			return
		}
		w.cloud.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	w.env["CPUCLOUD_URL"] = server.URL
	code, _, stderr := w.runIn(ctx, "vm", "create", "web", "--wait")
	if code != 130 || !strings.Contains(stderr, "the VM goes on starting: `cpucloud vm wait 0x") || !strings.HasSuffix(stderr, "interrupted\n") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestStatusesBecomeExitCodes(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]struct {
		code int
		says string
	}{
		302: {7, "is $CPUCLOUD_URL the address of a CPU Cloud?"},
		400: {6, "error: no"},
		401: {5, "check the API key"},
		403: {5, "check the API key"},
		404: {4, "error: no"},
		409: {6, "error: no"},
		422: {6, "error: no"},
		429: {6, "wait a moment"},
		500: {7, "error: no (request req_9)"},
		503: {7, "try again later"},
	} {
		w := newWorld(t)
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("X-Request-Id", "req_9")
			refuse(rw, status, "no")
		}))
		t.Cleanup(server.Close)
		w.env["CPUCLOUD_URL"] = server.URL
		code, stdout, stderr := w.run(t, "account")
		if code != want.code || !strings.Contains(stderr, want.says) || stdout != "" {
			t.Errorf("%d: exit code %d, stderr %q; want %d, …%s…", status, code, stderr, want.code, want.says)
		}
	}
}

// TestHostileCloud: what the cloud says is not passed on to ssh.
func TestHostileCloud(t *testing.T) {
	t.Parallel()
	for member, value := range map[string]string{"publicIp": "-oProxyCommand=touch owned", "id": "0x../../etc"} {
		w := newWorld(t)
		v := w.cloud.add("web", "Active")
		v[member] = value
		if code, _, stderr := w.run(t, "vm", "ssh", "web"); code != 1 || !strings.Contains(stderr, "that is none") {
			t.Errorf("%s: exit code %d, stderr %q; want a refusal", member, code, stderr)
		}
	}
}
