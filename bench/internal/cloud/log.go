package cloud

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/client"
)

// MachineStarted is how a VM tells that its machine runs.
const MachineStarted = "machine started"

// Told returns when a VM told last of something that begins with text.
func Told(v client.VM, text string) (at time.Time, err error) {
	err = fmt.Errorf("vm %s doesn't tell of %q", v.ID, text)
	for _, e := range v.Timeline {
		if strings.HasPrefix(e.Text, text) {
			at, err = e.At, nil
		}
	}
	return at, err
}

// Launch returns when the agent received the order that it started a VM's machine
// for, and when the machine ran, both as its log has them: to the millisecond.
func (c *Cloud) Launch(id string) (ordered, running time.Time, err error) {
	log, err := os.ReadFile(c.log)
	if err != nil {
		return ordered, running, err
	}
	return launch(log, id)
}

// launch finds in a log the last list of orders before the machine's start.
func launch(log []byte, id string) (ordered, running time.Time, err error) {
	for line := range bytes.Lines(log) {
		at, err := timeOf(line)
		if err != nil {
			continue // not a line of the log, or only half of one
		}
		switch {
		case bytes.Contains(line, []byte(` msg="new orders" `)):
			ordered = at
		case bytes.Contains(line, []byte(` msg="machine started" machine_id=`+id+" ")):
			if ordered.IsZero() {
				return ordered, at, fmt.Errorf("vm %s was started before the agent had orders", id)
			}
			return ordered, at, nil
		}
	}
	return ordered, running, fmt.Errorf("the agent's log has no start of vm %s", id)
}

// timeOf returns when a line of slog's text was written.
func timeOf(line []byte) (time.Time, error) {
	word, _, _ := strings.Cut(string(line), " ")
	return time.Parse("time="+time.RFC3339Nano, word)
}
