package vm

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// change is what the flags of update say.
type change struct {
	name             string
	set, add, remove []string
	closeAll         bool
	cut              bool
	confirm          time.Duration
	dry              session.DryRun
}

func update(s *session.Session) *cobra.Command {
	var c change
	cmd := &cobra.Command{
		Use:   "update NAME|ID",
		Short: "Rename a virtual machine or change its open ports",
		Long: "Rename a virtual machine or change its open ports. --port says all ports that shall be open;\n" +
			"--add-port and --remove-port change what is open now. Connections that are established stay,\n" +
			"unless --cut ends those through ports that are closed. With --confirm the ports are changed back after\n" +
			"that time, unless `cpucloud vm confirm` comes before: a change that locks you out undoes itself.",
		Example: session.Lines(
			"cpucloud vm update web --name www",
			"cpucloud vm update web --add-port 443 --remove-port 80 --cut",
			"cpucloud vm update web --port 2222 --confirm 60s",
			"cpucloud vm update web --close-all-ports --dry-run",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: only(Names(s)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("name") && c.name == "" {
				return fault.New(fault.Invalid, "a VM's name can't be empty")
			}
			if c.name == "" && len(c.set)+len(c.add)+len(c.remove) == 0 && !c.closeAll && !c.cut {
				return fault.New(fault.Malformed, "nothing to change: give a new name or ports")
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			v, err := Find(cmd.Context(), cloud, args[0])
			if err != nil {
				return err
			}
			if c.name != "" {
				if err := c.dry.Of(cloud).UpdateVMs(cmd.Context(), client.Update{ID: v.ID, Name: c.name}); err != nil {
					return err
				}
			}
			if err := c.apply(cmd.Context(), s, cloud, &v); err != nil {
				return err
			}
			c.dry.Note(s)
			if c.name != "" {
				v.Name = c.name
			}
			return s.Print(v, details(v))
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.name, "name", "", "new name")
	f.StringSliceVarP(&c.set, "port", "p", nil, "port to be open, all others are closed; may be given several times")
	f.StringSliceVar(&c.add, "add-port", nil, "port to open; may be given several times")
	f.StringSliceVar(&c.remove, "remove-port", nil, "port to close; may be given several times")
	f.BoolVar(&c.cut, "cut", false, "end the connections through ports that are closed, too")
	f.DurationVar(&c.confirm, "confirm", 0, "change the ports back after so long, 10s to 24h, unless confirmed")
	c.dry.Bind(cmd)
	f.BoolVar(&c.closeAll, "close-all-ports", false, "close every port, also 22/tcp")
	for _, changing := range []string{"add-port", "remove-port"} {
		cmd.MarkFlagsMutuallyExclusive("port", changing)
		cmd.MarkFlagsMutuallyExclusive("close-all-ports", changing)
	}
	cmd.MarkFlagsMutuallyExclusive("port", "close-all-ports")
	return cmd
}

// apply changes the ports of v, if that is asked for, and tells what it came to. The
// ports that --add-port and --remove-port start from must still be those.
func (c change) apply(ctx context.Context, s *session.Session, cloud *client.Client, v *client.VM) error {
	ports, err := c.ports(v.Ports)
	if err != nil {
		return err
	}
	if c.cut && ports == nil {
		ports = v.Ports
	}
	if ports == nil {
		return nil
	}
	wanted := client.PortChange{Ports: ports, Cut: c.cut, Confirm: c.confirm}
	if len(c.set) == 0 && !c.closeAll {
		wanted.IfMatch = v.PortsTag
	}
	made, err := c.dry.Of(cloud).SetPorts(ctx, v.ID, wanted)
	if err != nil {
		return err
	}
	v.Ports, v.PortsRevertAt = made.Ports, made.RevertsAt
	if len(made.Opens)+len(made.Closes) > 0 {
		s.Notef("opens %s; closes %s", portWords(made.Opens), portWords(made.Closes))
	}
	if slices.Contains(made.Closes, sshPort) {
		s.Notef("warning: 22/tcp is closed now; SSH can't connect until `cpucloud vm update %s --add-port 22`", v.ID)
	}
	if c.cut {
		s.Notef("connections through closed ports end once its server has made the change, those through open ones stay")
	}
	if made.RevertsAt != nil {
		s.Notef("changed back at %s, unless you confirm: cpucloud vm confirm %s", made.RevertsAt.UTC().Format(time.RFC3339), v.Name)
	}
	return nil
}

func confirm(s *session.Session) *cobra.Command {
	var dry session.DryRun
	cmd := &cobra.Command{
		Use:   "confirm NAME|ID",
		Short: "Keep the open ports that wait to be confirmed",
		Long: "Keep the open ports of a virtual machine that `cpucloud vm update --confirm` has changed. When it comes\n" +
			"too late they have been changed back: the ports that are open are printed.",
		Example:           session.Lines("cpucloud vm confirm web", "cpucloud vm update web --port 2222 --confirm 60s && cpucloud vm ssh web -- true && cpucloud vm confirm web"),
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
			kept, err := dry.Of(cloud).ConfirmPorts(cmd.Context(), v.ID)
			if err != nil {
				return err
			}
			dry.Note(s)
			var t session.Table
			t.Add("vm:", v.Name)
			t.Add("ports:", portWords(kept.Ports))
			return s.Print(kept, t)
		},
	}
	dry.Bind(cmd)
	return cmd
}

// ports returns the set that shall be open, nil for no change.
func (c change) ports(now []client.Port) ([]client.Port, error) {
	switch {
	case c.closeAll:
		return []client.Port{}, nil
	case len(c.set) > 0:
		return parsePorts(c.set)
	case len(c.add)+len(c.remove) == 0:
		return nil, nil
	}
	add, err := parsePorts(c.add)
	if err != nil {
		return nil, err
	}
	remove, err := parsePorts(c.remove)
	if err != nil {
		return nil, err
	}
	ports := []client.Port{}
	for _, p := range slices.Concat(now, add) {
		if !slices.Contains(remove, p) && !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	return ports, nil
}
