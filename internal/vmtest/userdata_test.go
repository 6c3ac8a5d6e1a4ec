//go:build vm || vmfull

package vmtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/client"
)

// secret is in the user data of these tests, and nowhere else.
const secret = "hunter2"

// given is a wish with user data.
func (c *cloud) given(d client.Deployment, userData string) (id string) {
	c.Helper()
	made, err := c.anna.DeployWith(c.Context(), client.PlacedDeployment{
		Placing: client.Placing{Constraints: client.Wishes{Constraints: d.Constraints}, Instances: 1}, VM: d.VM, UserData: userData,
	})
	if err != nil {
		c.Fatalf("deploy %s: %v", d.VM.Name, err)
	}
	c.made = append(c.made, made[0].ID)
	return made[0].ID
}

// command runs the command line as a customer with a home of her own does.
func (c *cloud) command(home string, args ...string) (string, error) {
	c.Helper()
	cmd := exec.CommandContext(c.Context(), program, args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "CPUCLOUD_DATA="+filepath.Join(home, "data"))
	for name, value := range c.environment("demo.env") {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// keysOf waits until a VM's host keys are known.
func (c *cloud) keysOf(id string) []client.HostKey {
	c.Helper()
	var v client.VM
	c.until("the host keys are known", func() bool {
		var err error
		if v, err = c.anna.VM(c.Context(), id); err != nil {
			c.Fatalf("VM: %v", err)
		}
		return len(v.SSHHostKeys) > 0
	})
	return v.SSHHostKeys
}

// logins logs in by the real ssh as the customer's command line does, from a home
// without any host keys, and returns how to do it once more.
func (c *cloud) logins(id, user string) (again func() (string, error)) {
	c.Helper()
	keys, home := c.keysOf(id), c.TempDir()
	identity := filepath.Join(home, "id")
	if err := os.WriteFile(identity, c.key.file, 0o600); err != nil {
		c.Fatal(err)
	}
	again = func() (string, error) {
		return c.command(home, "vm", "ssh", id, "--user", user, "--identity", identity, "--", "echo", "logged", "in")
	}
	if said, err := again(); err != nil || said != "logged in\n" {
		c.Errorf("the first login: %v, and %q, want no question and no warning", err, said)
	}
	if _, err := os.Stat(filepath.Join(home, ".ssh")); err == nil {
		c.Error("something was written to ~/.ssh")
	}
	if said, err := c.command(home, "vm", "show", id); err != nil || !strings.Contains(said, keys[0].Fingerprint) {
		c.Errorf("vm show: %v\n%s", err, said)
	}
	return again
}

// holding returns which of the agent's files and what command lines hold the secret.
func (c *cloud) holding() (found []string) {
	c.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		c.Fatal(err)
	}
	files = append(files, c.data+".log")
	err = filepath.WalkDir(filepath.Join(c.data, "agent"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.HasSuffix(path, ".qcow2") {
			files = append(files, path)
		}
		return nil // what goes while it is looked at holds nothing
	})
	for _, path := range files {
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), secret) {
			found = append(found, filepath.Base(path))
		}
	}
	if err != nil {
		c.Fatal(err)
	}
	slices.Sort(found)
	return found
}
