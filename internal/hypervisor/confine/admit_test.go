package confine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/hypervisor/confine"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
)

// waiting makes this program an agent that never admits the process it starts.
const waiting = "CPUCLOUD_TEST_WAITING"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == confine.Helper {
		fmt.Fprintln(os.Stderr, confine.Main(os.Args[2:]))
		os.Exit(1)
	}
	if mark := os.Getenv(waiting); mark != "" {
		cmd, err := command(context.Background(), mark, func(pid int) error {
			fmt.Println(pid)
			select {}
		})
		fmt.Println(errors.Join(err, cmd.Start()))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// command returns a command that makes the file mark and repeats its input, once
// admit has let it.
func command(ctx context.Context, mark string, admit func(pid int) error) (*confine.Cmd, error) {
	s := confine.Spec{Admit: admit}
	return s.Command(ctx, []string{"/proc/self/exe", confine.Helper}, "/bin/sh", "-c", `: >"$0"; cat; echo through`, mark)
}

func TestAdmitted(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	admitted := 0
	cmd, err := command(t.Context(), mark, func(pid int) error {
		admitted = pid
		if _, err := os.Stat(mark); err == nil {
			t.Error("the program ran before it was admitted")
		}
		return unix.Kill(pid, 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil || out.String() != "through\n" {
		t.Errorf("it ended with %v and said %q, want that it had no input and came through", err, out.String())
	}
	if admitted != cmd.Process.Pid {
		t.Errorf("admitted was %d, want the process %d", admitted, cmd.Process.Pid)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	refusal := errors.New("no place")
	cmd, err := command(t.Context(), mark, func(int) error { return refusal })
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); !errors.Is(err, refusal) {
		t.Errorf("Start: %v, want %v", err, refusal)
	}
	if err := unix.Kill(cmd.Process.Pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("its process: %v, want that there is none", err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the program ran without having been admitted")
	}
}

// Input that says nothing, or another word, admits nobody.
func TestHelperAlone(t *testing.T) {
	t.Parallel()
	for _, input := range []string{"", "x"} {
		mark := filepath.Join(t.TempDir(), "mark")
		cmd, err := command(t.Context(), mark, nil)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput() // which isn't Cmd's own
		if err == nil || !bytes.Contains(out, []byte("the agent has ended")) {
			t.Errorf("input %q: %v: %s", input, err, out)
		}
		if _, err := os.Stat(mark); err == nil {
			t.Errorf("input %q: the program ran without having been admitted", input)
		}
	}
}

// A process whose agent is killed while it waits ends, and its program never runs.
func TestAgentDies(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	agent := exec.CommandContext(t.Context(), "/proc/self/exe")
	agent.Env = append(os.Environ(), waiting+"="+mark)
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 20)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, 0); err != nil {
		t.Fatalf("the process that waits: %v", err)
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	hypervisortest.Await(t, func() bool { return ended(pid) != nil })
	if _, err := os.Stat(mark); err == nil {
		t.Error("the program ran without having been admitted")
	}
}

// ended returns an error when no living process has number pid; whoever inherited
// it may not have taken it away.
func ended(pid int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	if _, rest, _ := bytes.Cut(text, []byte(") ")); bytes.HasPrefix(rest, []byte("Z")) {
		return errors.New("it has ended")
	}
	return nil
}
