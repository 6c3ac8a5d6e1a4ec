//go:build vm

package vmtest_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/archive/archivetest"
)

// A VM's snapshot is exported, the VM deleted, and another one made of the export on
// another provider's server; control plane and agents are killed in the middle of both.
func TestExport(t *testing.T) { //nolint:paralleltest // see TestLife
	g := archivetest.Start(t)
	c := prepare(t)
	keys := filepath.Join(t.TempDir(), "keys.env")
	text := "AWS_ACCESS_KEY_ID=" + archivetest.AccessKey + "\nAWS_SECRET_ACCESS_KEY=" + archivetest.Secret + "\n"
	if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.flags = []string{"--archive", g.Address("cloud"), "--archive-keys", keys}
	c.start()
	const secret = "text of a customer that nobody else may read"
	id := c.deploy(c.wish("web", demoImage))
	guest := c.login("root", c.reach(id, client.StatusActive).Address())
	guest.run("echo '" + secret + "' > /root/kept && sync")
	shot := c.snapshot(id, "one", false)

	e, err := c.anna.ExportSnapshot(t.Context(), shot.ID, "export")
	if err != nil {
		t.Fatalf("export: %v", err)
	}
	held := hold(g, http.MethodPut)
	<-held.begun
	c.restart()
	held.release()
	e = c.exported(e.ID)
	if e.BytesStored <= 0 || e.BytesStored >= e.Bytes {
		t.Errorf("export %+v, want less than its snapshot takes", e)
	}
	if got := guest.run("cat /root/kept"); got != secret {
		t.Errorf("the guest says %q", got)
	}
	for name, object := range g.Files(t) {
		if bytes.Contains(object, []byte(secret)) || !strings.HasPrefix(name, "cloud/"+e.ID+"/") {
			t.Errorf("%s is in the store, or has plain text in it", name)
		}
	}
	c.remove(id)

	other := c.server("elsewhere", g.Host)
	d := c.wish("copy", "")
	d.VM.OSImage = ""
	where := client.Placing{Instances: 1}
	where.Constraints.ExcludeProviders = []string{"demo-provider"}
	held = hold(g, http.MethodGet)
	made, err := c.anna.DeployWith(t.Context(), client.PlacedDeployment{Placing: where, VM: d.VM, Export: e.ID})
	if err != nil {
		t.Fatalf("VM of an export: %v", err)
	}
	c.made = append(c.made, made[0].ID)
	<-held.begun
	other.kill()
	held.release()
	other.start()
	copied := c.login("root", c.reach(made[0].ID, client.StatusActive).Address())
	if got := copied.run("cat /root/kept && hostname"); got != secret+"\ncopy" {
		t.Errorf("the copy says %q", got)
	}
	if err := c.deleteExport(e.ID); err != nil {
		t.Errorf("delete export: %v", err)
	}
	for _, log := range []string{c.data + ".log", other.log} {
		text, err := os.ReadFile(log)
		for _, word := range []string{archivetest.Secret, "X-Amz-", "AGE-SECRET", secret} {
			if err != nil || strings.Contains(string(text), word) {
				t.Errorf("%s has %q in it (%v)", log, word, err)
			}
		}
	}
	c.remove(made[0].ID)
}

// exported waits until an export is done.
func (c *cloud) exported(id string) client.Export {
	c.Helper()
	e, err := c.anna.WaitExport(c.Context(), id, func(client.Export) {})
	if err != nil || e.State != client.ExportDone {
		c.Fatalf("export: %+v, %v", e, err)
	}
	return e
}

func (c *cloud) deleteExport(id string) error {
	e, err := c.anna.DeleteExport(c.Context(), id)
	if err == nil && e.State != client.ExportDeleting {
		err = fmt.Errorf("it is %s", e.State)
	}
	return err
}

// held is a store that answers requests for chunks only once it is released.
type held struct {
	begun chan struct{} // closed once one waits
	let   chan struct{}
	g     *archivetest.Gateway
}

func hold(g *archivetest.Gateway, method string) held {
	h := held{make(chan struct{}), make(chan struct{}), g}
	var once sync.Once
	g.Wrap(func(w http.ResponseWriter, r *http.Request, onward http.Handler) {
		if r.Method == method && strings.Contains(r.URL.Path, "/00000-") {
			once.Do(func() { close(h.begun) })
			select {
			case <-h.let:
			case <-r.Context().Done():
				return
			}
		}
		onward.ServeHTTP(w, r)
	})
	return h
}

func (h held) release() {
	h.g.Wrap(nil)
	close(h.let)
}

// elsewhere is another provider's server that joined a cloud.
type elsewhere struct {
	*cloud
	args []string
	log  string
	cmd  *exec.Cmd
}

// server has another provider's server join, which may use the store at a host.
func (c *cloud) server(name, store string) *elsewhere {
	c.Helper()
	dir := filepath.Join(c.TempDir(), name)
	operator := client.New("http://"+c.listen, c.environment("admin.env")["CPUCLOUD_ADMIN_KEY"])
	token, err := operator.CreateJoinToken(c.Context(), client.Invitation{
		Provider: name, Country: "DE", City: "BER", Index: 1, Tier: 3, Prices: client.UnitPrices{VCPU: "0.05", RAM: "0.02", Storage: "0.004", Address: "0.02"},
	})
	if err != nil {
		c.Fatalf("join token: %v", err)
	}
	if err := os.WriteFile(dir+".token", []byte(token.Token), 0o600); err != nil {
		c.Fatal(err)
	}
	other := &elsewhere{cloud: c, log: dir + ".log", args: []string{
		"agent", "run", "--server", "http://" + c.listen, "--data", dir, "--token-file", dir + ".token", "--pool", "127.95.1.0/24", "--vm-uids", "1900000000-1900065535",
		"--storage", "1000", "--ram", "8", "--vcpu", "8", "--benchmark", "off", "--allow-host", store,
	}}
	c.Cleanup(func() {
		other.kill()
		if out, err := exec.Command(program, "down", "--data", dir).CombinedOutput(); err != nil {
			c.Errorf("down: %v: %s", err, out)
		}
		if text, err := os.ReadFile(other.log); err == nil && c.Failed() {
			c.Logf("%s said:\n%s", name, text[max(0, len(text)-10_000):])
		}
	})
	other.start()
	return other
}

func (e *elsewhere) start() {
	e.Helper()
	log, err := os.OpenFile(e.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // the child has it
	e.cmd = exec.Command(program, e.args...)
	e.cmd.Stderr = log
	if err := e.cmd.Start(); err != nil {
		e.Fatalf("start agent: %v", err)
	}
	e.until("the other server is listed", func() bool {
		places, err := e.anna.Countries(e.Context())
		return err == nil && slices.Contains(places, "DE")
	})
}

// kill ends the agent as a crash does.
func (e *elsewhere) kill() {
	if e.cmd != nil {
		_ = e.cmd.Process.Signal(syscall.SIGKILL)
		_ = e.cmd.Wait()
		e.cmd = nil
	}
}
