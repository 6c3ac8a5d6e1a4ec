// Package netns works in network namespaces, network_namespaces(7).
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace; the zero one is the process's own.
type Namespace struct{ file *os.File }

// New makes a namespace with nothing but a loopback interface, which is down. It
// has no name: the kernel removes it once it is closed and the last process in it
// has ended, however that was. Only root can make one.
func New() (n Namespace, err error) {
	err = alone(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		n.file, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		return err
	})
	return n, err
}

// Open opens the namespace that a file stands for, such as /run/netns/NAME.
func Open(path string) (Namespace, error) {
	file, err := os.Open(path)
	return Namespace{file}, err
}

// Close gives the namespace up.
func (n Namespace) Close() error {
	if n.file == nil {
		return nil
	}
	return n.file.Close()
}

// Path names the namespace to other programs, as ip(8) takes it, while this process
// has it open.
func (n Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// Do runs fn inside: sockets that it opens and processes that it starts are inside,
// goroutines that it starts are not.
func (n Namespace) Do(fn func() error) error {
	if n.file == nil {
		return fn()
	}
	return alone(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return fn()
	})
}

// alone runs fn on a thread that nobody else gets.
func alone(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		done <- fn()
	}()
	return <-done
}
