package control

import (
	"context"
	"maps"
	"slices"

	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// reports reads what agents said last of the VMs on their servers.
func (c *checkup) reports(ctx context.Context, tx *store.Tx) error {
	return tx.EachSightings(ctx, func(serverID string, list []vm.Sighting) {
		seen := make(map[string]vm.Sighting, len(list))
		for _, s := range list {
			seen[s.ID] = s
		}
		c.seen[serverID] = seen
	})
}

// sight compares a VM with what its agent said of it last, where its server is
// heard: what is on the way between two states is left alone.
func (c *checkup) sight(v vm.VM) {
	seen, heard := c.seen[v.ServerID]
	if !heard {
		return
	}
	s, there := seen[v.OnServer()]
	if !v.Gone || !there || s.Phase == vm.Absent {
		delete(seen, v.OnServer()) // it is no stranger there
	}
	switch {
	case v.Gone && there && s.Phase != vm.Absent:
		c.find("VM "+v.ID, "look at it on server "+v.ServerID+": what is there is not paid for and belongs to nobody",
			"it is gone, and the agent of server %s reports it as %s", v.ServerID, s.Phase)
		delete(seen, v.OnServer())
	case v.State.Billed() && v.Goal == vm.Run && !there:
		c.find("VM "+v.ID, "look for it on server "+v.ServerID+", and let its provider end it if it is lost",
			"%s, and the agent of server %s does not report it", v.State, v.ServerID)
	case v.State.Billed() && v.Goal == vm.Run && (s.Phase == vm.Absent || s.Phase == vm.Halted || s.Phase == vm.Quarantined):
		c.find("VM "+v.ID, "look at it on server "+v.ServerID+", and let its provider end it if it is lost",
			"%s, and the agent of server %s reports it as %s", v.State, v.ServerID, s.Phase)
	case v.Goal == vm.Halt && v.Reached == v.Generation && s.Phase == vm.Ready:
		c.find("VM "+v.ID, "look at it on server "+v.ServerID+": it runs unpaid",
			"%s and to be powered off, and the agent of server %s reports it as %s", v.State, v.ServerID, s.Phase)
	}
}

// strangers finds what agents report and nobody asked for.
func (c *checkup) strangers() {
	for _, serverID := range slices.Sorted(maps.Keys(c.seen)) {
		for _, id := range slices.Sorted(maps.Keys(c.seen[serverID])) {
			if s := c.seen[serverID][id]; s.Phase != vm.Absent {
				c.find("server "+serverID, "look at it on the server: it is kept there untouched, and may be what a restored backup does not know",
					"its agent reports VM %s as %s, which nobody asked for", printable(id), s.Phase)
			}
		}
	}
}
