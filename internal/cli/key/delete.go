package key

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func remove(s *session.Session) *cobra.Command {
	var dry session.DryRun
	cmd := &cobra.Command{
		Use:     "delete NAME|FINGERPRINT",
		Aliases: []string{"rm"},
		Short:   "Remove an SSH key from your account",
		Long:    "Remove an SSH key from your account. VMs that were created with it keep it.",
		Example: session.Lines(
			"cpucloud key delete laptop",
			"cpucloud key delete SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDS0p8Hj0c2W3mF1Yk",
			"cpucloud key delete laptop --dry-run",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: names(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			keys, err := cloud.SSHKeys(cmd.Context())
			if err != nil {
				return err
			}
			k, err := find(keys, args[0])
			if err != nil {
				return err
			}
			if err := dry.Of(cloud).DeleteSSHKey(cmd.Context(), k.Fingerprint); err != nil {
				return err
			}
			if dry {
				s.Notef("Dry run: nothing was changed. Key %s %s would be removed.", nameOf(k), k.Fingerprint)
				return nil
			}
			s.Notef("Removed key %s %s.", nameOf(k), k.Fingerprint)
			return nil
		},
	}
	dry.Bind(cmd)
	return cmd
}

// find returns the key that word names, by fingerprint or name.
func find(keys []client.SSHKey, word string) (client.SSHKey, error) {
	var found []client.SSHKey
	for _, k := range keys {
		if k.Fingerprint == word {
			return k, nil
		}
		if k.Name != nil && *k.Name == word {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 0:
		return client.SSHKey{}, fault.Newf(fault.NotFound, "no key %q: `cpucloud key list` shows yours", word)
	case 1:
		return found[0], nil
	}
	prints := make([]string, len(found))
	for i, k := range found {
		prints[i] = k.Fingerprint
	}
	return client.SSHKey{}, fault.Newf(fault.Invalid, "%d keys are called %q, give the fingerprint: %s", len(found), word, strings.Join(prints, ", "))
}
