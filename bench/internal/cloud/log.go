package cloud

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/client"
)

// Started returns when the machine of a VM ran, as the VM itself tells it.
func Started(v client.VM) (time.Time, error) {
	for _, e := range v.Timeline {
		if strings.HasPrefix(e.Text, "machine started") {
			return e.At, nil
		}
	}
	return time.Time{}, fmt.Errorf("vm %s doesn't tell when its machine started", v.ID)
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
