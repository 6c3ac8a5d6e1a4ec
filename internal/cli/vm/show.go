package vm

import (
	"cmp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/market"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func show(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME|ID",
		Aliases:           []string{"get"},
		Short:             "Show a virtual machine: what it is, what it costs, what happened to it",
		Example:           session.Lines("cpucloud vm show web", "cpucloud vm show 0x1f9a", "cpucloud vm show web -o json | jq -r .publicIp"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: only(Names(s)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			v, err := Find(cmd.Context(), cloud, args[0])
			if err != nil {
				return err
			}
			if v, err = cloud.VM(cmd.Context(), v.ID); err != nil { // the list has no timeline
				return err
			}
			return s.Print(v, details(v))
		},
	}
}

func details(v client.VM) session.Table {
	var t session.Table
	t.Add("id:", v.ID)
	t.Add("name:", v.Name)
	t.Add("status:", v.Status+" since "+when(v.StatusChangedAt))
	switch {
	case v.Payment != nil:
		t.Add("warning:", owed(v)+"; `cpucloud account` tells what you have")
	case v.Reason != "":
		t.Add("reason:", v.Reason)
	}
	if v.Deadline != nil && v.Payment == nil {
		t.Add("given up at:", when(*v.Deadline))
	}
	if v.Waiting != nil {
		addWaits(&t, append([]client.Wait{*v.Waiting}, v.AlsoWaiting...))
	}
	if text := unreachable(v); text != "" {
		t.Add("warning:", text+"; the VM runs on")
	}
	if text := drained(v); text != "" {
		t.Add("warning:", text+"; move what is on it")
	}
	if len(v.Labels) > 0 {
		t.Add("labels:", labelWords(v.Labels))
	}
	if v.Rescue != nil {
		t.Add("rescue:", "in rescue since "+when(v.Rescue.Since)+"; `cpucloud vm unrescue "+v.Name+"` goes back")
	}
	if v.Power != "" && v.Power != client.PowerOn {
		t.Add("power:", v.Power)
	}
	t.Add("address:", cmp.Or(v.Address(), "-"))
	t.Add("hostname:", cmp.Or(v.Hostname, "-"))
	for i, k := range v.SSHHostKeys {
		label := ""
		if i == 0 {
			label = "host keys:"
		}
		t.Add(label, k.Fingerprint+" ("+k.Type+")")
	}
	t.Add("ports:", portWords(v.Ports))
	t.Add("size:", size(v))
	t.Add("hardware:", hardware(v))
	t.Add("image:", v.OSImage)
	t.Add("datacenter:", market.PlaceOf(v.Datacenter))
	t.Add("price:", prices(v))
	t.Add("spent:", v.TotalSpent+" USDC")
	t.Add("reserved:", v.ReservedBalance+" USDC")
	if v.NextBillingAt != nil {
		t.Add("next charge:", when(*v.NextBillingAt))
	}
	t.Add("created:", when(v.CreatedAt))
	if v.TerminatedAt != nil {
		t.Add("ended:", when(*v.TerminatedAt))
	}
	for i, e := range v.Timeline {
		label := ""
		if i == 0 {
			label = "timeline:"
		}
		t.Add(label, when(e.At)+"  "+e.Text)
	}
	return t
}

// addWaits tells what a VM waits for: why, since when, until when, and what comes then.
func addWaits(t *session.Table, waits []client.Wait) {
	for _, w := range waits {
		times := "since " + when(w.Since)
		if w.Until != nil {
			times += " until " + when(*w.Until)
		}
		t.Add("waiting:", w.Why)
		t.Add("", times)
		t.Add("", w.Next)
	}
}

// owed tells what a VM that is short of money waits for, "" for another one.
func owed(v client.VM) string {
	if v.Payment == nil {
		return ""
	}
	p := v.Payment
	if p.Then == client.StatusTerminated {
		return p.Missing + " USDC are missing to start it again; its disk is kept until " + when(p.Until)
	}
	return p.Missing + " USDC are missing for its next epoch; it runs until " + when(p.Until) + ", then it is powered off and its disk kept"
}

// unreachable tells since when nothing is known of a VM, "" while something is.
func unreachable(v client.VM) string {
	if v.UnreachableSince == nil {
		return ""
	}
	return "unreachable since " + when(*v.UnreachableSince) + ": its server is not heard"
}

// drained tells when a VM's provider ends it, "" where that is not planned.
func drained(v client.VM) string {
	if v.DrainedAt == nil {
		return ""
	}
	return "will end " + when(*v.DrainedAt) + ": its server is emptied by its provider"
}

// hardware names the parts that a VM runs on.
func hardware(v client.VM) string {
	var parts []string
	for _, r := range v.Resources {
		var words []string
		for _, k := range []string{"manufacturer", "brand", "architecture", "type", "generation"} {
			if w, ok := r.Metadata[k].(string); ok && w != "" {
				words = append(words, w)
			}
		}
		if len(words) > 0 {
			parts = append(parts, strings.Join(words, " "))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "-")
}

// prices says what a VM costs, and will.
func prices(v client.VM) string {
	text := v.PricePerEpoch + " USDC per epoch"
	switch {
	case v.NextPrice != nil && v.NextBillingAt != nil:
		text += ", " + *v.NextPrice + " from " + when(*v.NextBillingAt) + " on"
	case v.Power == client.PowerOn && v.PriceOff != "":
		text += ", " + v.PriceOff + " while it is powered off"
	}
	return text
}
