package main

import (
	"net/netip"
	"time"

	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// imageFlags say which images this machine fetches, from where, and keeps.
type imageFlags struct {
	mirrors  []string
	allow    []string
	deny     []string
	prefetch []string
	quota    int64
	soft     int64
	maxAge   time.Duration
}

// register adds the flags.
func (i *imageFlags) register(flags *pflag.FlagSet) {
	i.registerKeeping(flags)
	flags.StringArrayVar(&i.prefetch, "prefetch", nil, "URL of an image to fetch before anybody asks for it, for everybody (repeatable)")
}

// registerKeeping adds those that are of use without an agent, too.
func (i *imageFlags) registerKeeping(flags *pflag.FlagSet) {
	flags.StringArrayVar(&i.mirrors, "mirror", nil, "fetch images from elsewhere: URL-PREFIX=OTHER-PREFIX (repeatable)")
	flags.StringArrayVar(&i.allow, "allow-host", nil, "a private host that images may be fetched from, or that exports may be kept at: HOST or HOST:PORT (repeatable)")
	flags.StringArrayVar(&i.deny, "deny-network", nil, "a network of yours that images and exports must not be fetched from, though it is public: PREFIX (repeatable)")
	flags.Int64Var(&i.quota, "image-quota", 256, "GiB of disk that images may take")
	flags.Int64Var(&i.soft, "image-soft-quota", 0, "GiB from which on images that were not used for longest are removed (0: four fifths of --image-quota)")
	flags.DurationVar(&i.maxAge, "image-max-age", 7*24*time.Hour, "remove images that were not used for so long")
}

// denied returns the networks that nothing is fetched from.
func (i *imageFlags) denied() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range i.deny {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fault.Newf(fault.Invalid, "--deny-network: %q is not a prefix such as 203.0.113.0/24", text)
		}
		all = append(all, p)
	}
	return all, nil
}

// check returns an Invalid fault for limits that can't be meant.
func (i *imageFlags) check() error {
	switch {
	case i.quota < 0 || i.quota > 1<<20 || i.soft < 0:
		return fault.New(fault.Invalid, "--image-quota and --image-soft-quota are GiB of disk, at most 1048576")
	case i.quota > 0 && i.soft > i.quota:
		return fault.Newf(fault.Invalid, "--image-soft-quota %d is more than --image-quota %d", i.soft, i.quota)
	case i.maxAge < 0:
		return fault.New(fault.Invalid, "--image-max-age has to be longer than nothing, such as 168h")
	}
	return nil
}
