package report

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// Describe says what the figures are of: a machine, and how busy it is.
func Describe(w io.Writer) error {
	model := "unknown"
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	averages := strings.Fields(string(load))[:3]
	_, err = fmt.Fprintf(w, "machine=%q cores=%d load=%q go=%s\n", model, runtime.NumCPU(), strings.Join(averages, " "), runtime.Version())
	return err
}
