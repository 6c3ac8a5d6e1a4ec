package image

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confine takes all rights from the thread that calls it, for good, but for
// running programs and changing file: no new privileges, no file but what
// programs are made of (Landlock, where the kernel has it), no socket (seccomp).
func confine(file *os.File, programs ...string) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	if err := hideFiles(file, programs); err != nil {
		return fmt.Errorf("hide files: %w", err)
	}
	if err := denyCalls(); err != nil {
		return fmt.Errorf("deny system calls: %w", err)
	}
	return nil
}

const (
	readFile   = unix.LANDLOCK_ACCESS_FS_READ_FILE
	runFile    = readFile | unix.LANDLOCK_ACCESS_FS_EXECUTE
	readFiles  = runFile | unix.LANDLOCK_ACCESS_FS_READ_DIR
	changeFile = readFile | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// hideFiles has the kernel refuse to open anything but file, programs, and the
// system's libraries.
func hideFiles(file *os.File, programs []string) error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP {
		return nil // an older kernel: the user without rights has to do
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: landlockFiles(int(version))}
	size := unsafe.Sizeof(attr.Handled_access_fs)
	if version >= 4 {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size += unsafe.Sizeof(attr.Handled_access_net)
	}
	set, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(set)) //nolint:errcheck // nothing is written to it
	err := allow(int(set), fmt.Sprintf("/proc/self/fd/%d", file.Fd()), changeFile&attr.Handled_access_fs)
	for _, path := range []string{"/usr", "/lib", "/lib64", "/bin"} {
		err = errors.Join(err, allow(int(set), path, readFiles))
	}
	err = errors.Join(err, allow(int(set), os.DevNull, readFile|unix.LANDLOCK_ACCESS_FS_WRITE_FILE), allow(int(set), "/dev/urandom", readFile))
	for _, path := range append([]string{"/etc/ld.so.cache"}, programs...) {
		err = errors.Join(err, allow(int(set), path, runFile))
	}
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// landlockFiles returns all that a version of Landlock can forbid.
func landlockFiles(version int) uint64 {
	rights := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_SYM)<<1 - 1
	if version >= 2 {
		rights |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if version >= 3 {
		rights |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if version >= 5 {
		rights |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return rights
}

// allow adds a rule for what is at path; what isn't there needs none.
func allow(set int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)                                                               //nolint:errcheck // nothing is written to it
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)} //nolint:gosec // files are few
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("allow %s: %w", path, errno)
	}
	return nil
}

// denied is what a child has no use for: sockets by any name, and ways into other
// processes and the kernel.
var denied = []uint32{
	unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_IO_URING_SETUP,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD,
	unix.SYS_BPF, unix.SYS_USERFAULTFD, unix.SYS_PERF_EVENT_OPEN, unix.SYS_KEYCTL, unix.SYS_MOUNT, unix.SYS_UNSHARE, unix.SYS_SETNS,
}

// architectures whose calls are known by their numbers here.
var architectures = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// denyCalls has the kernel answer the calls in denied with EPERM, and end the
// process that makes any call under the numbers of another architecture.
func denyCalls() error {
	arch, known := architectures[runtime.GOARCH]
	if !known {
		return errors.ErrUnsupported
	}
	const (
		number, architecture = 0, 4 // offsets in struct seccomp_data
		load                 = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal                = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		atLeast              = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		answer               = unix.BPF_RET | unix.BPF_K
		x32                  = 1 << 30 // another set of numbers on amd64
	)
	program := []unix.SockFilter{
		{Code: load, K: architecture},
		{Code: equal, K: arch, Jt: 1},
		{Code: answer, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: number},
		{Code: atLeast, K: x32, Jf: 1},
		{Code: answer, K: unix.SECCOMP_RET_KILL_PROCESS},
	}
	for _, call := range denied {
		program = append(program, unix.SockFilter{Code: equal, K: call, Jf: 1}, unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
	}
	program = append(program, unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW})
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]} //nolint:gosec // a few dozen
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&filter)), 0, 0)
}
