package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

// tick is the unit of processor time in proc_pid_stat(5), on every machine that
// Linux shows to programs.
const tick = 10 * time.Millisecond

var errShort = errors.New("a file of the kernel's is cut off")

// read adds what the kernel knows of the machine's process.
func (m *meter) read(u *hypervisor.Usage) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.process.PID))
	if err != nil {
		return err
	}
	// Of proc_pid_stat(5) the 3rd field is the first behind the name.
	const third, state, user, system, resident = 3, 3, 14, 15, 24
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= resident-third {
		return errShort
	}
	if fields[state-third][0] == 'Z' {
		return errGone
	}
	var n [3]int64
	for i, which := range []int{user, system, resident} {
		if n[i], err = strconv.ParseInt(string(fields[which-third]), 10, 64); err != nil {
			return err
		}
	}
	u.CPU, u.Memory = time.Duration(n[0]+n[1])*tick, n[2]*int64(os.Getpagesize())
	u.Steal = m.waits.read(m.process.PID)
	return nil
}

// waits are how long each thread of a process has waited for a processor, by its
// number, and the sum of all that there ever were.
type waits struct {
	of  map[string]time.Duration
	sum time.Duration
}

// read brings w up to date and returns the sum. A thread that has ended since takes
// what it waited after the last reading with it. The kernel counts how long a
// thread was ready to run and did not, also while its control group has used up its
// quota: Documentation/scheduler/sched-stats.rst.
func (w *waits) read(pid int) time.Duration {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return w.sum
	}
	now := make(map[string]time.Duration, len(threads))
	for _, thread := range threads {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, thread.Name()))
		if err != nil {
			continue // it has ended
		}
		fields := bytes.Fields(text)
		if len(fields) < 2 {
			continue
		}
		waited, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil {
			continue
		}
		now[thread.Name()] = time.Duration(waited)
		if since := time.Duration(waited) - w.of[thread.Name()]; since > 0 { // or its number is that of another by now
			w.sum += since
		}
	}
	w.of = now
	return w.sum
}
