// Package profile takes processor profiles of a bench.
package profile

import (
	"fmt"
	"os"
	"runtime/pprof"
)

// CPU is a processor profile of this process, from the first thing on that is
// measured. One without a path takes none.
type CPU struct {
	Path string
	out  *os.File
}

// Begin has the profile begin, unless it has.
func (p *CPU) Begin() (err error) {
	if p.Path == "" || p.out != nil {
		return nil
	}
	if p.out, err = os.Create(p.Path); err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(p.out); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}

// End writes the profile, if it has begun.
func (p *CPU) End() error {
	if p.out == nil {
		return nil
	}
	pprof.StopCPUProfile()
	return p.out.Close()
}
