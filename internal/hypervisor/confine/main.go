package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Main confines this process and becomes the program that args name; it returns
// only if that doesn't work. args are those that Command puts behind Helper.
func Main(args []string) error {
	if len(args) < 2 {
		return errors.New("this is called by the agent alone")
	}
	var s Spec
	if err := json.Unmarshal([]byte(args[0]), &s); err != nil {
		return fmt.Errorf("confinement: %w", err)
	}
	if err := wait(); err != nil {
		return err
	}
	runtime.LockOSThread() // rights belong to a thread; this one becomes the program
	if err := s.enter(); err != nil {
		return fmt.Errorf("confinement: %w", err)
	}
	return fmt.Errorf("run %s: %w", args[1], syscall.Exec(args[1], args[1:], []string{})) //nolint:gosec // the agent's choice
}

// enter takes from this thread what s doesn't leave to it. The order matters:
// what needs rights comes before they go.
func (s Spec) enter() error {
	own, err := os.Open("/proc/self/stat") // while there is a /proc
	if err != nil {
		return err
	}
	defer own.Close() //nolint:errcheck // nothing was written
	if err := s.sacrifice(); err != nil {
		return err
	}
	if s.Isolated {
		if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("see no other control groups: %w", err)
		}
		if err := s.changeRoot(); err != nil {
			return err
		}
	}
	for which, most := range s.Limits {
		if err := unix.Prlimit(0, which, &unix.Rlimit{Cur: most, Max: most}, nil); err != nil {
			return fmt.Errorf("limit %d to %d: %w", which, most, err)
		}
	}
	if err := s.dropRights(); err != nil {
		return err
	}
	if s.Parent != 0 { // last, for a change of rights would undo it
		if err := s.endWithParent(own); err != nil {
			return fmt.Errorf("end with the parent: %w", err)
		}
	}
	return forbid()
}

// endWithParent sees to it that this process ends when its parent does, or has.
// Its own number and its parent's are not seen in its namespace; own is its stat
// of proc_pid_stat(5) as the parent's namespace sees it.
func (s Spec) endWithParent(own *os.File) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	stat := make([]byte, 512)
	n, err := own.ReadAt(stat, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	text := string(stat[:n])
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // state, parent; the name before may contain anything
	if len(fields) < 2 || fields[1] != strconv.Itoa(s.Parent) {
		return errors.New("it is gone")
	}
	return nil
}

// sacrifice says who is to be killed first when memory runs out.
func (s Spec) sacrifice() error {
	if s.OOM == 0 {
		return nil
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(s.OOM)), 0); err != nil {
		return fmt.Errorf("put others first when memory runs out: %w", err)
	}
	return nil
}

// dropRights makes this thread one of s.User without capabilities, now and after
// whatever program it runs.
func (s Spec) dropRights() error {
	if s.User != 0 {
		for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: unknown to this kernel
				return fmt.Errorf("drop capability %d: %w", c, err)
			}
		}
		id := uintptr(s.User)
		var groups []int
		if s.Group != 0 {
			groups = append(groups, int(s.Group))
		}
		if err := unix.Setgroups(groups); err != nil {
			return fmt.Errorf("leave groups: %w", err)
		}
		for _, call := range [][4]uintptr{{unix.SYS_SETRESGID, id, id, id}, {unix.SYS_SETRESUID, id, id, id}} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				return fmt.Errorf("become user %d: %w", s.User, errno)
			}
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData // 64 of them, in two halves
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("renounce new privileges: %w", err)
	}
	return nil
}
