package vm

import (
	"slices"

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
	dry              session.DryRun
}

func update(s *session.Session) *cobra.Command {
	var c change
	cmd := &cobra.Command{
		Use:   "update NAME|ID",
		Short: "Rename a virtual machine or change its open ports",
		Long: "Rename a virtual machine or change its open ports. --port says all ports that shall be open;\n" +
			"--add-port and --remove-port change what is open now. Connections that are established stay,\n" +
			"unless --cut ends those through ports that are closed.",
		Example: session.Lines(
			"cpucloud vm update web --name www",
			"cpucloud vm update web --add-port 443 --remove-port 80 --cut",
			"cpucloud vm update web --port 22 --port 53/udp",
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
			u, err := c.of(v)
			if err != nil {
				return err
			}
			if err := c.dry.Of(cloud).UpdateVMs(cmd.Context(), u); err != nil {
				return err
			}
			if c.dry {
				c.dry.Note(s)
				v = changed(v, u)
				return s.Print(v, details(v))
			}
			if u.Ports != nil && slices.Contains(v.Ports, sshPort) && !slices.Contains(u.Ports, sshPort) {
				s.Notef("warning: 22/tcp is closed now; SSH can't connect until `cpucloud vm update %s --add-port 22`", v.ID)
			}
			if u.Cut {
				s.Notef("connections through closed ports end once its server has made the change, those through open ones stay")
			}
			if v, err = cloud.VM(cmd.Context(), v.ID); err != nil {
				return err
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
	c.dry.Bind(cmd)
	f.BoolVar(&c.closeAll, "close-all-ports", false, "close every port, also 22/tcp")
	for _, changing := range []string{"add-port", "remove-port"} {
		cmd.MarkFlagsMutuallyExclusive("port", changing)
		cmd.MarkFlagsMutuallyExclusive("close-all-ports", changing)
	}
	cmd.MarkFlagsMutuallyExclusive("port", "close-all-ports")
	return cmd
}

// of returns what is to be changed of a VM.
func (c change) of(v client.VM) (u client.Update, err error) {
	u = client.Update{ID: v.ID, Name: c.name, Cut: c.cut}
	if u.Ports, err = c.ports(v.Ports); u.Cut && u.Ports == nil {
		u.Ports = append([]client.Port{}, v.Ports...)
	}
	return u, err
}

// changed returns how a VM would be after an update.
func changed(v client.VM, u client.Update) client.VM {
	if u.Name != "" {
		v.Name = u.Name
	}
	if u.Ports != nil {
		v.Ports = u.Ports
	}
	return v
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
