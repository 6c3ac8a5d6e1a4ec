package cli_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cpucloud/cpucloud/internal/cli"
)

var update = flag.Bool("update", false, "rewrite the expected output in the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cpucloud": cpucloud, "ssh": fakeSSH})
}

func cpucloud() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	io := cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv, Now: time.Now, Rand: rand.Reader}
	code := cli.Execute(ctx, cli.New(io), io)
	stop()
	os.Exit(code)
}

// fakeSSH prints its arguments and ends as SSH_EXIT says.
func fakeSSH() {
	for _, arg := range os.Args[1:] {
		fmt.Println(arg)
	}
	code, _ := strconv.Atoi(os.Getenv("SSH_EXIT"))
	os.Exit(code)
}

// TestScripts runs the manual: testdata/*.txtar against a stub cloud each.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			cloud, server := newStub(env.T().(testing.TB))
			env.Values["stub"] = cloud
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("CPUCLOUD_DATA", filepath.Join(env.WorkDir, "data"))
			env.Setenv("CPUCLOUD_URL", server.URL)
			env.Setenv("CPUCLOUD_API_KEY", customerKey)
			env.Setenv("CPUCLOUD_ADMIN_KEY", operatorKey)
			key := []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI ada@laptop\n")
			if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(home, ".ssh", "id_ed25519.pub"), key, 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":  code,
			"has":   has,
			"warn":  warn,
			"waits": waits,

			"asked": asked,

			"prints": prints,
		},
	})
}

// code runs a command and checks its exit code: code 4 cpucloud vm show web.
func code(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		_, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &got)
		ts.Check(scanErr)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// has puts a VM into the cloud: has NAME STATUS.
func has(ts *testscript.TestScript, _ bool, args []string) {
	ts.Value("stub").(*stub).add(args[0], args[1])
}

// warn sets when something happens to a VM: warn NAME MEMBER TIME.
func warn(ts *testscript.TestScript, _ bool, args []string) {
	s := ts.Value("stub").(*stub)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.vms {
		if v["vmName"] == args[0] {
			v[args[1]] = args[2]
		}
	}
}

// waits has a VM wait for two things: waits NAME.
func waits(ts *testscript.TestScript, _ bool, args []string) {
	s := ts.Value("stub").(*stub)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.vms {
		if v["vmName"] == args[0] {
			v["waiting"] = doc{"for": "confirm", "why": "the change of its open ports is not confirmed", "since": "2026-01-31T12:00:00Z", "until": "2026-01-31T12:01:00Z", "next": "unless it is confirmed by then, the ports are changed back"}
			v["alsoWaiting"] = []doc{{"for": "nothing", "why": "it has \x1b[31mended", "since": "2026-01-31T12:00:00Z", "until": nil, "next": "nothing more is tried"}}
		}
	}
}

// prints gives a VM host keys: prints NAME KEY; \n in a key is a line's end.
func prints(ts *testscript.TestScript, _ bool, args []string) {
	s := ts.Value("stub").(*stub)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.vms {
		if v["vmName"] == args[0] {
			kind, _, _ := strings.Cut(args[1], " ")
			v["sshHostKeys"] = []doc{{"type": kind, "fingerprint": "SHA256:of-" + kind, "publicKey": strings.ReplaceAll(args[1], `\n`, "\n")}}
		}
	}
}

// world runs commands in this process, where the test can be the terminal.
type world struct {
	cloud    *stub
	env      map[string]string
	stdin    string
	terminal bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cloud, server := newStub(t)
	dir := t.TempDir()
	return &world{cloud: cloud, env: map[string]string{
		"HOME": dir, "CPUCLOUD_DATA": filepath.Join(dir, "data"), "CPUCLOUD_URL": server.URL, "CPUCLOUD_API_KEY": customerKey,
		"CPUCLOUD_ADMIN_KEY": operatorKey,
	}}
}

// run runs cpucloud with the arguments.
func (w *world) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return w.runIn(t.Context(), args...)
}

func (w *world) runIn(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	io := cli.IO{
		In: bytes.NewBufferString(w.stdin), Out: &out, Err: &errs, Env: func(name string) string { return w.env[name] },
		Now: time.Now, Rand: rand.Reader, Terminal: func(any) (int, bool) { return 60, w.terminal },
	}
	root := cli.New(io) //nolint:contextcheck // commands take the context they are run with
	root.SetArgs(args)
	code = cli.Execute(ctx, root, io)
	return code, out.String(), errs.String()
}
