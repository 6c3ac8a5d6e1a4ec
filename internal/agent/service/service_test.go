package service_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/agent/service"
)

var update = flag.Bool("update", false, "write the golden files anew")

const dir = "/var/lib/cpu cloud"

var command = []string{
	"/usr/local/bin/cpucloud", "agent", "run", "--data", dir, "--server", "https://cloud.example.org",
	"--mirror", "https://a.example/%20=https://b.example/$x", "--cpu-brand", `EPYC "9354P"`, "--memory-type", "",
}

// machine is a root directory with systemd in it, and a log of what was run.
func machine(t *testing.T) (service.Manager, *[]string) {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o700); err != nil {
		t.Fatal(err)
	}
	var ran []string
	return service.Manager{Root: root, Run: func(_ context.Context, name string, args ...string) error {
		ran = append(ran, name+" "+strings.Join(args, " "))
		return nil
	}}, &ran
}

func TestUnit(t *testing.T) {
	t.Parallel()
	golden := filepath.Join("testdata", "cpucloud-agent.service")
	got := service.Unit(command, dir)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("unit:\n%s\nwant (run with -update to take it):\n%s", got, want)
	}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	m, ran := machine(t)
	for _, step := range []struct {
		name    string
		command []string
		want    []string
	}{
		{"new", command, []string{"systemctl daemon-reload", "systemctl enable --now cpucloud-agent.service"}},
		{"again", command, []string{"systemctl daemon-reload", "systemctl enable --now cpucloud-agent.service"}},
		{"changed", command[:3], []string{
			"systemctl daemon-reload", "systemctl enable --now cpucloud-agent.service", "systemctl restart cpucloud-agent.service",
		}},
	} {
		*ran = nil
		path, err := m.Install(t.Context(), step.command, dir)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if !slices.Equal(*ran, step.want) {
			t.Errorf("%s: ran %q, want %q", step.name, *ran, step.want)
		}
		text, err := os.ReadFile(path)
		if err != nil || string(text) != service.Unit(step.command, dir) || path != filepath.Join(m.Root, "etc/systemd/system/cpucloud-agent.service") {
			t.Errorf("%s: %s holds %q, %v", step.name, path, text, err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v; want a file that everybody may read", step.name, info, err)
		}
	}
}

func TestInstallThatDoesNotWork(t *testing.T) {
	t.Parallel()
	m, _ := machine(t)
	refused := errors.New("exit status 1")
	m.Run = func(_ context.Context, _ string, args ...string) error {
		if args[0] == "enable" {
			return refused
		}
		return nil
	}
	if _, err := m.Install(t.Context(), command, dir); !errors.Is(err, refused) || !strings.Contains(err.Error(), "enable --now") {
		t.Errorf("Install: %v, want what systemctl said, and to what", err)
	}
	m.Root = "/dev/null"
	if _, err := m.Install(t.Context(), command, dir); err == nil {
		t.Error("Install where no file can be: no error")
	}
}

func TestUsable(t *testing.T) {
	t.Parallel()
	root, _ := machine(t)
	user := root
	user.User = 1000
	for name, tt := range map[string]struct {
		m    service.Manager
		want string
	}{
		"root with systemd": {root, ""},
		"a user":            {user, "only root"},
		"a container":       {service.Manager{Root: t.TempDir()}, "systemd does not run"},
	} {
		if reason, ok := tt.m.Usable(); ok != (tt.want == "") || !strings.Contains(reason, tt.want) {
			t.Errorf("%s: %q, %t; want %q", name, reason, ok, tt.want)
		}
	}
}
