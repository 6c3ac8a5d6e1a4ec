package main

import (
	"fmt"
	"os"
	"runtime/pprof"
)

// profile is a processor profile of this process, from the first thing on that
// is measured. The zero value takes none.
type profile struct {
	path string
	out  *os.File
}

// begin has the profile begin, unless it has.
func (p *profile) begin() (err error) {
	if p.path == "" || p.out != nil {
		return nil
	}
	if p.out, err = os.Create(p.path); err != nil {
		return err
	}
	return pprof.StartCPUProfile(p.out)
}

func (p *profile) end() error {
	if p.out == nil {
		return nil
	}
	pprof.StopCPUProfile()
	return p.out.Close()
}

// measuring is called when a part is set up and its measurement begins.
func (b *bench) measuring() error {
	if err := b.cpu.begin(); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}
