package confine

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forbidden are system calls that no program here needs, and through which
// kernels were broken before. QEMU's own filter comes later and forbids more,
// such as to run another program; this one is there from the first instruction.
var forbidden = []uint32{
	unix.SYS_ACCT, unix.SYS_ADD_KEY, unix.SYS_BPF, unix.SYS_CHROOT, unix.SYS_CLOCK_ADJTIME, unix.SYS_CLOCK_SETTIME,
	unix.SYS_DELETE_MODULE, unix.SYS_FANOTIFY_INIT, unix.SYS_FINIT_MODULE, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT,
	unix.SYS_FSOPEN, unix.SYS_FSPICK, unix.SYS_INIT_MODULE, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_IO_URING_SETUP, unix.SYS_KCMP, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD, unix.SYS_KEYCTL,
	unix.SYS_MOUNT, unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_OPEN_TREE, unix.SYS_PERF_EVENT_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIVOT_ROOT, unix.SYS_PROCESS_MADVISE,
	unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PTRACE, unix.SYS_QUOTACTL, unix.SYS_REBOOT,
	unix.SYS_REQUEST_KEY, unix.SYS_SETDOMAINNAME, unix.SYS_SETHOSTNAME, unix.SYS_SETNS, unix.SYS_SWAPOFF, unix.SYS_SWAPON,
	unix.SYS_SYSLOG, unix.SYS_UMOUNT2, unix.SYS_UNSHARE, unix.SYS_USERFAULTFD, unix.SYS_VHANGUP,
}

const (
	audit   = 0xc000003e // AUDIT_ARCH_X86_64 of linux/audit.h
	x32     = 0x40000000 // set in the numbers of another set of system calls, asm/unistd.h
	newAny  = 0x7e020000 // CLONE_NEWNS | CLONE_NEWCGROUP … CLONE_NEWNET of clone(2)
	deny    = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	unknown = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// where the parts of struct seccomp_data are, linux/seccomp.h.
const (
	atNumber   = 0
	atArch     = 4
	atArgument = 16 // the lower half of the first
)

// filter returns the program that decides on each system call.
func filter() []unix.SockFilter {
	stmt := func(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no}
	}
	load := func(at uint32) unix.SockFilter { return stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, at) }
	ret := func(what uint32) unix.SockFilter { return stmt(unix.BPF_RET|unix.BPF_K, what) }

	program := []unix.SockFilter{
		load(atArch),
		jump(unix.BPF_JEQ, audit, 1, 0),
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(atNumber),
		jump(unix.BPF_JGE, x32, 0, 1),
		ret(deny),
		// The arguments of clone3 are in memory, where they can't be looked at. The C
		// library goes on with clone when the kernel doesn't know it.
		jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1),
		ret(unknown),
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4),
		load(atArgument),
		jump(unix.BPF_JSET, newAny, 0, 1),
		ret(deny),
		ret(unix.SECCOMP_RET_ALLOW),
		// Machines get their sockets; they need to make none but of the local kind.
		jump(unix.BPF_JEQ, unix.SYS_SOCKET, 0, 4),
		load(atArgument),
		jump(unix.BPF_JEQ, unix.AF_UNIX, 1, 0),
		ret(deny),
		ret(unix.SECCOMP_RET_ALLOW),
	}
	for _, number := range forbidden {
		program = append(program, jump(unix.BPF_JEQ, number, 0, 1), ret(deny))
	}
	return append(program, ret(unix.SECCOMP_RET_ALLOW))
}

// forbid keeps this thread, and what it becomes, from forbidden system calls.
func forbid() error {
	code := filter()
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]} //nolint:gosec // some hundred
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("filter system calls: %w", errno)
	}
	return nil
}
