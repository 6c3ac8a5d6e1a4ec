package cli_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/cli"
)

func TestDefaultData(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"CPUCLOUD_DATA": "/srv/c", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/srv/c"},
		{map[string]string{"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/cpucloud"},
		{map[string]string{"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/cpucloud"},
		{map[string]string{}, ""},
	} {
		if got := cli.DefaultData(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("DefaultData(%v) = %q, want %q", c.env, got, c.want)
		}
	}
}

// TestLogin says which key goes to which address. FILE stands for a data
// folder with a good demo.env, HERE for the address of the cloud.
func TestLogin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string // on top of $HOME
		file string            // demo.env in the default folder
		args []string
		code int
		says string
	}{
		"the environment": {env: map[string]string{"CPUCLOUD_URL": "HERE", "CPUCLOUD_API_KEY": customerKey}},
		"the default folder": {
			file: "# made by cpucloud up\nexport CPUCLOUD_URL='HERE'\nexport CPUCLOUD_API_KEY=\"" + customerKey + "\"\n",
		},
		"the address of the folder in the environment": {
			env: map[string]string{"CPUCLOUD_URL": "HERE"}, file: "CPUCLOUD_URL=HERE\nCPUCLOUD_API_KEY=" + customerKey,
		},
		"--data before the environment": {
			env:  map[string]string{"CPUCLOUD_URL": "http://127.0.0.1:1", "CPUCLOUD_API_KEY": "other"},
			file: "CPUCLOUD_URL=HERE\nCPUCLOUD_API_KEY=" + customerKey, args: []string{"--data", "FILE"},
		},
		"--url before the environment": {
			env: map[string]string{"CPUCLOUD_URL": "http://127.0.0.1:1", "CPUCLOUD_API_KEY": customerKey}, args: []string{"--url", "HERE"},
		},
		"nothing":        {code: 5, says: "hint: start a local cloud with `cpucloud up`, or `source DIR/demo.env`"},
		"no address":     {env: map[string]string{"CPUCLOUD_API_KEY": customerKey}, code: 2, says: "which cloud? set CPUCLOUD_URL"},
		"--data of none": {args: []string{"--data", "FILE"}, code: 2, says: "demo.env: no such file or directory"},
		"a file's key is not sent elsewhere by --url": {
			file: "CPUCLOUD_URL=http://127.0.0.1:1\nCPUCLOUD_API_KEY=" + customerKey, args: []string{"--url", "HERE"}, code: 5, says: "is for http://127.0.0.1:1",
		},
		"a file's key is not sent elsewhere by the environment": {
			env:  map[string]string{"CPUCLOUD_URL": "HERE"},
			file: "CPUCLOUD_URL=http://127.0.0.1:1\nCPUCLOUD_API_KEY=" + customerKey, code: 5, says: "no API key: CPUCLOUD_API_KEY is not set",
		},
		"a file without a key": {file: "CPUCLOUD_URL=HERE\n", code: 5, says: "no API key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			here, dir := w.env["CPUCLOUD_URL"], t.TempDir()
			fill := strings.NewReplacer("HERE", here, "FILE", dir).Replace
			w.env = map[string]string{"HOME": dir, "CPUCLOUD_DATA": dir}
			maps.Copy(w.env, c.env)
			for k, v := range w.env {
				w.env[k] = fill(v)
			}
			if c.file != "" {
				if err := os.WriteFile(filepath.Join(dir, "demo.env"), []byte(fill(c.file)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			args := []string{"account"}
			for _, a := range c.args {
				args = append(args, fill(a))
			}
			code, stdout, stderr := w.run(t, args...)
			if code != c.code || !strings.Contains(stderr, c.says) {
				t.Errorf("exit code %d, stderr %q; want %d, …%s…", code, stderr, c.code, c.says)
			}
			if code == 0 && !strings.Contains(stdout, "acc_1") {
				t.Errorf("stdout %q, want the account", stdout)
			}
			if strings.Contains(stderr, customerKey) {
				t.Errorf("stderr shows the key: %q", stderr)
			}
		})
	}
}

func TestAdminKeyComesFromItsOwnFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	data := w.env["CPUCLOUD_DATA"]
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	file := "CPUCLOUD_URL=" + w.env["CPUCLOUD_URL"] + "\nCPUCLOUD_ADMIN_KEY=" + operatorKey + "\n"
	if err := os.WriteFile(filepath.Join(data, "admin.env"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env["CPUCLOUD_ADMIN_KEY"] = ""
	if code, stdout, stderr := w.run(t, "admin", "balance", "get", "acc_1"); code != 0 || stdout != "100\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q; want 0 and 100", code, stdout, stderr)
	}
}
