package qemu_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// intruderArgument makes the program of these tests a QEMU that a guest has taken
// over: it tries what it can and says what came of it.
const intruderArgument = "intruder"

// target is what an intruder is after.
type target struct {
	Secret string // a file of the agent, for root alone
	Disk   string // of another machine
	Socket string // of another machine's QEMU
	Public string // a file of the host that anybody may read
	Port   string // host:port of a service of the host
	Name   string // of an abstract socket of the host
	Shared int    // key of memory that the host's processes share
	PID    int    // a process of the host
	Suid   string // a program of root's with the set-user-id bit
	Binary string // this program

	Temporary string // a file that could be made in the host's folder for all
}

// intrude writes the name of each try with why it failed, "" if it didn't.
func intrude(args []string) {
	if len(args) == 1 && args[0] == "who" {
		fmt.Println(os.Geteuid())
		return
	}
	var t target
	if err := json.Unmarshal([]byte(args[0]), &t); err != nil {
		fmt.Println(err)
		return
	}
	signal.Ignore(unix.SIGXFSZ) // so that it comes as an error
	all := map[string]func() error{}
	for _, some := range []map[string]func() error{t.files(), t.processes(), t.rights(), t.kernel(), t.floods()} {
		maps.Copy(all, some)
	}
	said := map[string]string{}
	for name, try := range all {
		if err := try(); err != nil {
			said[name] = err.Error()
		} else {
			said[name] = ""
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(said)
}

func reads(path string) func() error {
	return func() error { _, err := os.ReadFile(path); return err }
}

func opens(path string) func() error {
	return func() error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			_ = f.Close()
		}
		return err
	}
}

func dials(network, address string) func() error {
	return func() error {
		c, err := net.Dial(network, address)
		if err == nil {
			_ = c.Close()
		}
		return err
	}
}

func (t target) files() map[string]func() error {
	writes := func(path string) func() error { return func() error { return os.WriteFile(path, nil, 0o600) } }
	return map[string]func() error{
		"read the host's passwords":        reads("/etc/shadow"),
		"read a public file of the host":   reads(t.Public),
		"read the agent's secrets":         reads(t.Secret),
		"read another machine's disk":      reads(t.Disk),
		"open a disk of the host":          opens("/dev/vda"),
		"open the host's memory":           opens("/dev/mem"),
		"open KVM":                         opens("/dev/kvm"),
		"write to its root":                writes("/file"),
		"write to the host's temporary":    writes(t.Temporary),
		"write to the host's programs":     writes("/usr/cpucloud-intruder"),
		"change the system's libraries":    func() error { return os.Chmod("/usr/lib", 0o777) },
		"talk to another machine's QEMU":   dials("unix", t.Socket),
		"talk to a service of the host":    dials("tcp", t.Port),
		"talk to a local name of the host": dials("unix", t.Name),
		"see the host's network cards":     func() error { _, err := net.Interfaces(); return err },
		"make a raw socket":                func() error { _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); return err },
		"make a device":                    func() error { return unix.Mknod("/dev/mine", unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))) },
		"use memory that the host shares":  func() error { _, err := unix.SysvShmGet(t.Shared, 4096, 0o600); return err },
		"find a variable in its environment": func() error {
			if len(os.Environ()) == 0 {
				return errors.New("there is none")
			}
			return nil
		},
	}
}

func (t target) processes() map[string]func() error {
	return map[string]func() error{
		"see the host's processes":   reads("/proc/" + strconv.Itoa(t.PID) + "/status"),
		"kill a process of the host": func() error { return unix.Kill(t.PID, unix.SIGKILL) },
		"kill all processes": func() error {
			if os.Getpid() != 1 { // it would be those of whoever runs these tests
				return errors.New("not tried")
			}
			_ = unix.Kill(-1, unix.SIGKILL)
			return errors.New("whom it hit is seen from outside")
		},
		"trace a process":                func() error { return unix.PtraceAttach(t.PID) },
		"read another process's memory":  func() error { _, err := unix.ProcessVMReadv(t.PID, nil, nil, 0); return err },
		"be spared when memory is short": func() error { return os.WriteFile("/proc/self/oom_score_adj", []byte("-500"), 0) },
	}
}

func (t target) rights() map[string]func() error {
	return map[string]func() error{
		"become root": func() error { _, _, e := unix.RawSyscall(unix.SYS_SETUID, 0, 0, 0); return failed(e) },
		"become root by a program": func() error {
			out, err := exec.Command(t.Suid, intruderArgument, "who").Output()
			if err != nil || strings.TrimSpace(string(out)) == "0" {
				return err
			}
			return fmt.Errorf("as user %s", out)
		},
		"keep a capability": func() error {
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var have [2]unix.CapUserData
			if err := unix.Capget(&header, &have[0]); err != nil {
				return err
			}
			for c := range uintptr(unix.CAP_LAST_CAP + 1) {
				bound, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
				if err == nil && bound == 1 {
					return nil
				}
			}
			if have[0].Effective|have[0].Permitted|have[0].Inheritable != 0 {
				return nil
			}
			return errors.New("there is none")
		},
		"gain privileges by a program": func() error {
			on, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
			if err == nil && on == 1 {
				return errors.New("renounced")
			}
			return err
		},
		"open more files":   raises(unix.RLIMIT_NOFILE),
		"dump its memory":   raises(unix.RLIMIT_CORE),
		"lock memory":       raises(unix.RLIMIT_MEMLOCK),
		"make larger files": raises(unix.RLIMIT_FSIZE),
	}
}

// raises tries to raise a limit.
func raises(which int) func() error {
	return func() error {
		var now unix.Rlimit
		if err := unix.Prlimit(0, which, nil, &now); err != nil {
			return err
		}
		if now.Max >= 1<<40 {
			return nil // there is none
		}
		return unix.Prlimit(0, which, &unix.Rlimit{Cur: now.Max + 1, Max: now.Max + 1}, nil)
	}
}

func (t target) kernel() map[string]func() error {
	call := func(number, a, b, c uintptr) func() error {
		return func() error { _, _, e := unix.Syscall(number, a, b, c); return failed(e) }
	}
	return map[string]func() error{
		"mount something":           func() error { return unix.Mount("x", "/dev", "tmpfs", 0, "") },
		"leave its root":            func() error { return unix.Chroot("/usr") },
		"make a user namespace":     func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"make one by clone":         func() error { return clones(unix.CLONE_NEWUSER) },
		"ask for the kernel's keys": call(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 1),
		"load a BPF program":        call(unix.SYS_BPF, 0, 0, 0),
		"make an io_uring":          call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&[120]byte{})), 0),
		"handle page faults":        call(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0),
		"read the kernel's log":     call(unix.SYS_SYSLOG, 10, 0, 0),
		"rename the host":           func() error { return unix.Sethostname([]byte("mine")) },
		"set the clock":             call(unix.SYS_CLOCK_SETTIME, 0, uintptr(unsafe.Pointer(&unix.Timespec{Sec: 1 << 30})), 0),
		"restart the host":          func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) },
	}
}

// clones makes a process with flags, and ends it.
func clones(flags uintptr) error {
	pid, _, e := unix.RawSyscall(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0)
	if e == 0 && pid == 0 {
		for {
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	return failed(e)
}

func (t target) floods() map[string]func() error {
	return map[string]func() error{
		"make processes without end": func() error {
			var made []int
			defer func() {
				for _, pid := range made {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}()
			for range 1000 {
				pid, _, e := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
				if e == 0 && pid == 0 {
					for {
						_, _, _ = unix.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
					}
				}
				if e != 0 {
					return fmt.Errorf("after %d: %w", len(made), e)
				}
				made = append(made, int(pid))
			}
			return nil
		},
		"grow its disk without end": func() error {
			_, err := unix.Pwrite(3, []byte("x"), 64<<30)
			return err
		},
		"see files that it was not given": func() error {
			_, err := os.ReadDir("/proc/self/fd")
			return err
		},
	}
}

func failed(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}
