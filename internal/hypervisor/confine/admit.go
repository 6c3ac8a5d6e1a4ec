package confine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Cmd is a command that is started by its own Start or Run only.
//
// Its process waits to be admitted at a pipe that it has in the place of standard
// input. Whoever holds the other end and dies closes it, so that nothing is left
// waiting.
type Cmd struct {
	*exec.Cmd

	admit func(pid int) error
}

// Start starts the process and returns when it was admitted. After an error
// there is none.
func (c *Cmd) Start() error {
	gate, key, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = key.Close() }()
	c.Stdin = gate
	err = c.Cmd.Start()
	if err = errors.Join(err, gate.Close()); err != nil {
		return err
	}
	if c.admit != nil {
		err = c.admit(c.Process.Pid)
	}
	if err == nil {
		_, err = key.Write([]byte{admitted})
	}
	if err != nil {
		_ = c.Process.Kill()
		_ = c.Wait() // how it ended is known
	}
	return err
}

// Run is Start, and waits for the end of the process.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// admitted is what is written when the process may go on.
const admitted = 'a'

// wait returns when this process was admitted, with an error when it won't be.
// What it becomes has no input.
func wait() error {
	var word [1]byte
	if n, _ := os.Stdin.Read(word[:]); n != 1 || word[0] != admitted {
		return errors.New("the agent has ended, or has no place for this process")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("have no input: %w", err)
	}
	if err := unix.Dup3(int(null.Fd()), int(os.Stdin.Fd()), 0); err != nil {
		return fmt.Errorf("have no input: %w", err)
	}
	return null.Close()
}
