package vm

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func label(s *session.Session) *cobra.Command {
	var t target
	var dry session.DryRun
	cmd := &cobra.Command{
		Use:   "label NAME|ID... KEY=VALUE... KEY-...",
		Short: "Set and remove labels of virtual machines",
		Long: "Set labels of virtual machines, and remove those that are named with a hyphen behind them; all others\n" +
			"stay. Without any, the labels are shown. Keys and values are at most 63 letters, digits and inner\n" +
			"-, _ and ., as in Kubernetes; a virtual machine has at most 32.\n\n" + chosenBy,
		Example: session.Lines(
			"cpucloud vm label web env=prod tier-",
			"cpucloud vm label web db owner=anna --dry-run",
			"cpucloud vm label -l env=test,!owner owner=nobody --yes",
		),
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, changes := splitChanges(args)
			if err := t.check(names); err != nil {
				return err
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			vms, err := t.find(cmd.Context(), cloud, names)
			if err != nil {
				return err
			}
			if ok, err := t.agree(s, "Change the labels of", vms, dry); err != nil || !ok {
				return err
			}
			for i := range vms {
				if len(changes) == 0 {
					continue
				}
				if vms[i].Labels, err = dry.Of(cloud).ChangeLabels(cmd.Context(), vms[i].ID, changes); err != nil {
					return err
				}
			}
			dry.Note(s)
			return s.Print(vms, labelTable(vms))
		},
		ValidArgsFunction: Names(s),
	}
	t.bind(cmd)
	dry.Bind(cmd)
	return cmd
}

// splitChanges tells names from labels that are set or removed. A VM whose name ends
// with a hyphen is named by its id.
func splitChanges(words []string) (names []string, changes map[string]*string) {
	changes = map[string]*string{}
	for _, word := range words {
		key, value, sets := strings.Cut(word, "=")
		gone, removes := strings.CutSuffix(word, "-")
		switch {
		case sets:
			changes[key] = &value
		case removes:
			changes[gone] = nil
		default:
			names = append(names, word)
		}
	}
	return names, changes
}

// parseLabels reads the labels of a VM that is made.
func parseLabels(words []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if was, twice := labels[key]; !ok || key == "" || twice && was != value {
			return nil, fault.Newf(fault.Invalid, "--label %q is not a key and a value such as env=prod, each key once", word)
		}
		labels[key] = value
	}
	return labels, nil
}

func labelTable(vms []client.VM) session.Table {
	t := session.Table{Header: []string{"id", "name", "labels"}}
	for _, v := range vms {
		t.Add(v.ID, v.Name, cmp.Or(labelWords(v.Labels), "-"))
	}
	return t
}

func labelWords(labels map[string]string) string {
	words := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		words = append(words, key+"="+labels[key])
	}
	return strings.Join(words, ",")
}
