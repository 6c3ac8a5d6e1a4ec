package provider

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func showServer(s *session.Session) *cobra.Command {
	return verb(s, &cobra.Command{
		Use:     "show NAME|ID",
		Aliases: []string{"get"},
		Short:   "Show a server: what it is, what it measured, what happened to it",
		Long: "Show a server: what it is and what is sold of it, what it measured and how long ago, its VMs and its\n" +
			"story. What is marked as declared was stated by you and not read off the machine.",
		Example:           session.Lines("cpucloud provider server show rack1", "cpucloud provider server show rack1 -o json | jq .measured"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: servers(s),
	}, func(ctx context.Context, at seat, args []string) error {
		v, err := at.cloud.Server(ctx, at.provider, args[0])
		if err != nil {
			return err
		}
		return at.Print(v, details(v))
	})
}

func details(v client.Server) session.Table {
	var t session.Table
	t.Add("id:", v.ID)
	t.Add("name:", cmp.Or(v.Name, "-"))
	t.Add("state:", v.State)
	if v.DrainDeadline != nil {
		t.Add("empty by:", when(*v.DrainDeadline))
	}
	t.Add("heard of:", perhaps(v.HeardAt))
	if v.UnreachableSince != nil {
		t.Add("unreachable:", "since "+when(*v.UnreachableSince))
	}
	if p := problem(v); p != "" {
		t.Add("problem:", p)
	}
	t.Add("datacenter:", v.Datacenter)
	t.Add("offer:", cmp.Or(v.Offer, "none lists its hardware, so that nothing is sold"))
	m := marks(v.Declared)
	t.Add("sold:", fmt.Sprintf("%s vCPU%s, %s GiB RAM%s, %s GiB storage%s, %s addresses%s",
		sold(v.Used.VCPU, v.Capacity.VCPU), m.of("total.vcpu"), sold(v.Used.RAMGiB, v.Capacity.RAMGiB), m.of("total.ramgib"),
		sold(v.Used.StorageGiB, v.Capacity.StorageGiB), m.of("total.storagegib"), sold(v.Used.Addresses, v.Capacity.Addresses), m.of("total.addresses")))
	addHardware(&t, v, m)
	addMeasured(&t, v.Measured)
	for i, e := range v.VirtualMachines {
		t.Add(label("vms:", i), e.ID+"  "+e.Status+"  since "+when(e.CreatedAt))
	}
	for i, e := range v.Timeline {
		t.Add(label("timeline:", i), when(e.At)+"  "+e.Text)
	}
	return t
}

// label is said once, in the first of several rows.
func label(word string, row int) string {
	if row > 0 {
		return ""
	}
	return word
}

// marks are the names of what was declared, without the difference between
// ram_gib and ramGib.
type marks []string

func (m marks) of(name string) string {
	if slices.ContainsFunc(m, func(d string) bool { return strings.EqualFold(strings.ReplaceAll(d, "_", ""), name) }) {
		return " (declared)"
	}
	return ""
}

func addHardware(t *session.Table, v client.Server, m marks) {
	hw, more := v.Hardware, v.Details
	row := func(label string, words ...string) {
		words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
		t.Add(label, cmp.Or(strings.Join(words, " "), "-"))
	}
	said := func(word, name string) string {
		if word == "" {
			return ""
		}
		return word + m.of("hardware."+name)
	}
	row("processor:", said(hw.CPU.Manufacturer, "cpu.manufacturer"), said(hw.CPU.Brand, "cpu.brand"),
		said(hw.CPU.Architecture, "cpu.architecture"), said(hw.CPU.Generation, "cpu.generation"))
	row("memory:", said(hw.Memory.Type, "memory.type"), said(hw.Memory.Generation, "memory.generation"))
	row("storage:", said(hw.Storage.Type, "storage.type"))
	if more.Threads > 0 {
		t.Add("machine:", fmt.Sprintf("%s, %s, %s, %d GiB RAM",
			count(int(more.Sockets), "socket"), count(int(more.Cores), "core"), count(int(more.Threads), "thread"), more.MemoryGiB))
	}
	for i, d := range more.Disks {
		row(label("disks:", i), d.Name, cmp.Or(d.Type, "unknown"), fmt.Sprintf("%d GiB", d.SizeGiB), d.Model)
	}
	if len(more.Addresses) > 0 {
		t.Add("addresses:", strings.Join(more.Addresses, ", "))
	}
}

func addMeasured(t *session.Table, m *client.Measured) {
	if m == nil {
		t.Add("measured:", "not yet")
		return
	}
	t.Add("measured:", when(m.At)+", "+age(m.AgeSeconds)+" ago")
	for _, f := range []struct {
		label, unit string
		value       float64
	}{
		{"one thread", "points", m.CPUSingle},
		{"all threads", "points", m.CPUAll},
		{"memory", "MiB/s", m.Memory},
		{"disk reads", "MiB/s", m.DiskRead},
		{"disk writes", "MiB/s", m.DiskWrite},
		{"random reads", "per second", m.DiskIOPS},
		{"durable after", "ms", m.DiskFsync},
		{"round trip", "ms", m.Network},
	} {
		figure := "not measured"
		if f.value > 0 {
			figure = fmt.Sprintf("%s %s", digits(f.value), f.unit)
		}
		t.Add("  "+f.label+":", figure)
	}
	if m.Note != "" {
		t.Add("  note:", m.Note)
	}
}

// digits writes three digits that count, and all before the point.
func digits(v float64) string {
	switch {
	case v < 1:
		return fmt.Sprintf("%.3f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// age says a span of time in its largest unit.
func age(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case d >= 48*time.Hour:
		return count(int(d/(24*time.Hour)), "day")
	case d >= 2*time.Hour:
		return count(int(d/time.Hour), "hour")
	case d >= 2*time.Minute:
		return count(int(d/time.Minute), "minute")
	}
	return count(int(max(seconds, 0)), "second")
}
