// Package key holds the commands for registered SSH keys.
package key

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// Command is the noun key.
func Command(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{
		Use:     "key",
		Aliases: []string{"ssh-key"},
		Short:   "SSH keys that VMs can be created with by name",
	}, add(s), list(s), remove(s))
}

// nameOf returns a key's name, "-" when it has none.
func nameOf(k client.SSHKey) string {
	if k.Name == nil || *k.Name == "" {
		return "-"
	}
	return *k.Name
}

// names completes what a key can be called.
func names(s *session.Session) cobra.CompletionFunc {
	return s.Complete(func(ctx context.Context, cloud *client.Client) ([]string, error) {
		keys, err := cloud.SSHKeys(ctx)
		var words []string
		for _, k := range keys {
			if k.Name != nil && *k.Name != "" {
				words = append(words, *k.Name)
				continue
			}
			words = append(words, k.Fingerprint)
		}
		return words, err
	})
}
