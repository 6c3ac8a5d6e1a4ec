// Package market holds the commands that look at what is on offer.
package market

import (
	"context"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Constraints are the flags that say what an offer has to be.
type Constraints struct {
	config       string
	countries    []string
	cpu, arch    []string
	storageType  []string
	memory       []string
	extraStorage string
	maxPrice     string
}

// Bind adds the flags to cmd.
func (c *Constraints) Bind(s *session.Session, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.config, "config", "", "basic configuration, such as cpu-2-ram-4gb-storage-25gb")
	f.StringSliceVar(&c.countries, "country", nil, "two-letter country code; any of several")
	f.StringSliceVar(&c.cpu, "cpu", nil, "manufacturer of the processor; any of several")
	f.StringSliceVar(&c.arch, "arch", nil, "architecture of the processor; any of several")
	f.StringSliceVar(&c.memory, "memory", nil, "type and generation of the memory, such as DDR4; any of several")
	f.StringSliceVar(&c.storageType, "storage-type", nil, "HDD, SSD or NVMe; any of several")
	f.StringVar(&c.extraStorage, "extra-storage", "", "GiB beyond the configuration, such as 50, 50GiB or 50:NVMe")
	f.StringVar(&c.maxPrice, "max-price", "", "highest price of one VM per epoch in USDC, with extra storage")

	session.CompleteFlag(cmd, "config", s.Complete(func(ctx context.Context, cloud *client.Client) ([]string, error) {
		return cloud.BasicConfigurations(ctx)
	}))
	session.CompleteFlag(cmd, "country", s.Complete(func(ctx context.Context, cloud *client.Client) ([]string, error) {
		return cloud.Countries(ctx)
	}))
	hardware := func(words func(client.Hardware) []string) cobra.CompletionFunc {
		return s.Complete(func(ctx context.Context, cloud *client.Client) ([]string, error) {
			h, err := cloud.Hardware(ctx)
			return words(h), err
		})
	}
	session.CompleteFlag(cmd, "cpu", hardware(func(h client.Hardware) (words []string) {
		for _, x := range h.CPU {
			words = append(words, x.Manufacturer)
		}
		return words
	}))
	session.CompleteFlag(cmd, "arch", hardware(func(h client.Hardware) (words []string) {
		for _, x := range h.CPU {
			words = append(words, x.Architecture)
		}
		return words
	}))
	session.CompleteFlag(cmd, "memory", hardware(func(h client.Hardware) (words []string) {
		for _, x := range h.Memory {
			words = append(words, x.Type+x.Generation)
		}
		return words
	}))
	session.CompleteFlag(cmd, "storage-type", session.Words("HDD", "SSD", "NVMe"))
	for _, flag := range []string{"extra-storage", "max-price"} {
		session.CompleteFlag(cmd, flag, cobra.NoFileCompletions)
	}
}

// Value returns what the flags say, or an Invalid fault.
func (c *Constraints) Value() (client.Constraints, error) {
	want := client.Constraints{
		BasicConfiguration: c.config,
		Datacenter:         client.DatacenterFilter{Countries: c.countries},
		MaxPricePerEpoch:   c.maxPrice,
	}
	if c.maxPrice != "" {
		if _, err := money.ParseLimit(c.maxPrice); err != nil {
			return want, err
		}
	}
	want.Hardware.CPU = c.processors()
	for _, word := range c.memory {
		kind := strings.TrimRight(word, "0123456789")
		want.Hardware.Memory = append(want.Hardware.Memory, client.Memory{Type: kind, Generation: word[len(kind):]})
	}
	for _, kind := range c.storageType {
		want.Hardware.Storage = append(want.Hardware.Storage, client.Storage{Type: kind})
	}
	if c.extraStorage != "" {
		extra, err := c.extra()
		want.AdditionalResources.Storage = []client.ExtraStorage{extra}
		return want, err
	}
	return want, nil
}

// processors returns every wanted manufacturer with every wanted architecture.
func (c *Constraints) processors() (list []client.CPU) {
	makers, archs := c.cpu, c.arch
	if len(makers)+len(archs) == 0 {
		return nil
	}
	if len(makers) == 0 {
		makers = []string{""}
	}
	if len(archs) == 0 {
		archs = []string{""}
	}
	for _, maker := range makers {
		for _, arch := range archs {
			list = append(list, client.CPU{Manufacturer: maker, Architecture: arch})
		}
	}
	return list
}

// extra reads an amount and perhaps a type of storage; the type of
// --storage-type is taken when there is just one.
func (c *Constraints) extra() (client.ExtraStorage, error) {
	parts := regexp.MustCompile(`^([0-9]{1,9})(?i:gib|gb)?(?::([A-Za-z]+))?$`).FindStringSubmatch(c.extraStorage)
	if parts == nil {
		return client.ExtraStorage{}, fault.Newf(fault.Invalid, "--extra-storage %q is not GiB with perhaps a type, such as 50 or 50:NVMe", c.extraStorage)
	}
	gib, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || gib < 1 {
		return client.ExtraStorage{}, fault.New(fault.Invalid, "--extra-storage has to be 1 GiB or more")
	}
	kind := parts[2]
	if kind == "" && len(c.storageType) == 1 {
		kind = c.storageType[0]
	}
	return client.ExtraStorage{Supply: gib, Units: "GiB", Type: kind}, nil
}
