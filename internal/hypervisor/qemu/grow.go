package qemu

import (
	"context"
	"fmt"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu/qmp"
)

// grow gives the disks of a machine that just begins the sizes that they should have,
// where they are smaller: QEMU does it, which has them open, long before a guest looks.
// A disk is never made smaller.
func grow(ctx context.Context, c *qmp.Client, m hypervisor.Machine) error {
	nodes := map[string]int64{}
	fd := firstDiskFD
	for _, d := range m.Disks {
		node := (&args{}).disk(d, &fd)
		if d.Bytes > 0 && !d.ReadOnly {
			nodes[node] = d.Bytes
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	var known []struct {
		Node  string `json:"node-name"`
		Image struct {
			Size int64 `json:"virtual-size"`
		} `json:"image"`
	}
	if err := c.Execute(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &known); err != nil {
		return fmt.Errorf("look at disks: %w", err)
	}
	for _, k := range known {
		if want := nodes[k.Node]; k.Image.Size < want {
			if err := c.Execute(ctx, "block_resize", map[string]any{"node-name": k.Node, "size": want}, nil); err != nil {
				return fmt.Errorf("grow disk from %d to %d bytes: %w", k.Image.Size, want, err)
			}
		}
	}
	return nil
}
