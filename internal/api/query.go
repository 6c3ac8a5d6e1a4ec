package api

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Bounds of a page, so that no product overflows.
const (
	defaultPerPage = 50
	maxPerPage     = 10_000
	maxPage        = 1_000_000
)

// filter reads the parameters that narrow a list of VMs.
func (c *call) filter() (f control.VMFilter, err error) {
	f.Datacenter = c.query.Get("dcSlug")
	f.IDs = c.list("vm_id")
	if f.States, err = c.states("status"); err != nil {
		return f, err
	}
	if f.EndedSince, err = c.time("terminatedAt"); err != nil {
		return f, err
	}
	const page, perPage = "pagination[page]", "pagination[per_page]"
	if !c.query.Has(page) && !c.query.Has(perPage) {
		return f, nil
	}
	if f.Page, err = c.count(page, 1, maxPage); err != nil {
		return f, err
	}
	f.PerPage, err = c.count(perPage, defaultPerPage, maxPerPage)
	return f, err
}

// list returns the values of a parameter that may be repeated and hold commas.
func (c *call) list(name string) []string {
	var all []string
	for _, given := range c.query[name] {
		for value := range strings.SplitSeq(given, ",") {
			if value = strings.TrimSpace(value); value != "" {
				all = append(all, value)
			}
		}
	}
	return all
}

var allStates = []vm.State{
	vm.New, vm.Launching, vm.Active, vm.SmallBalance, vm.InsufficientFunds, vm.Terminated, vm.Stopped, vm.Failed,
}

// states reads statuses, in any case.
func (c *call) states(name string) ([]vm.State, error) {
	var states []vm.State
	for _, given := range c.list(name) {
		i := slices.IndexFunc(allStates, func(s vm.State) bool { return strings.EqualFold(string(s), given) })
		if i < 0 {
			return nil, fault.Newf(fault.Invalid, "%s %q is none of %v", name, clip(given), allStates)
		}
		states = append(states, allStates[i])
	}
	return states, nil
}

// time reads a time, the zero time when it isn't given.
func (c *call) time(name string) (t time.Time, err error) {
	if text := c.query.Get(name); text != "" {
		if t, err = time.Parse(time.RFC3339, text); err != nil {
			return t, fault.Newf(fault.Invalid, "%s %q is not a time as RFC 3339 says", name, clip(text))
		}
	}
	return t, nil
}

// count reads a number from 1 to most.
func (c *call) count(name string, unless, most int) (int, error) {
	text := c.query.Get(name)
	if text == "" {
		return unless, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, fault.Newf(fault.Invalid, "%s %q is not a number within 1 to %d", name, clip(text), most)
	}
	return n, nil
}

// duration reads a time span such as 90s.
func (c *call) duration(name string, unless, most time.Duration) (time.Duration, error) {
	text := c.query.Get(name)
	if text == "" {
		return unless, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > most {
		return 0, fault.Newf(fault.Invalid, "%s %q is not a duration within 0s to %.0fs", name, clip(text), most.Seconds())
	}
	return d, nil
}

// flag reads a parameter that is true or false, which it is when it isn't given.
func (c *call) flag(name string) (bool, error) {
	switch text := c.query.Get(name); text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, fault.Newf(fault.Malformed, "%s %q is neither true nor false", name, clip(text))
	}
}
