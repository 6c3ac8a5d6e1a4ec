package provider

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// diff writes a line for each change: a sign, and what changes.
func diff(changes []client.Change, colours bool) string {
	var b strings.Builder
	for _, c := range changes {
		sign, colour := signOf(c)
		line := session.Clean(sign + " " + what(c))
		if colours && colour != "" {
			line = "\x1b[" + colour + "m" + line + "\x1b[0m"
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// stays reports whether c only tells that something remains which the listing
// leaves out.
func stays(c client.Change) bool { return c.Action == "change" && reflect.DeepEqual(c.Before, c.After) }

// effective returns how many of the changes change something.
func effective(changes []client.Change) (n int) {
	for _, c := range changes {
		if !stays(c) {
			n++
		}
	}
	return n
}

func signOf(c client.Change) (sign, colour string) {
	switch {
	case stays(c):
		return "=", ""
	case c.Action == "add":
		return "+", "32" // green
	case c.Action == "remove":
		return "-", "31" // red
	}
	return "~", "33" // yellow
}

// what says a change in words, by the cloud's own if it has some.
func what(c client.Change) string {
	switch {
	case stays(c):
		return inShort(c.After) + " is " + cmp.Or(c.Text, "kept")
	case c.Text != "":
		return c.Text
	case c.Action == "add":
		return c.Path + ": " + inShort(c.After)
	case c.Action == "remove":
		return c.Path + ": " + inShort(c.Before)
	}
	return c.Path + ": " + inShort(c.Before) + " → " + inShort(c.After)
}

func inShort(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		return v
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}
