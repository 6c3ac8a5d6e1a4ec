package provider

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func server(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{
		Use:   "server",
		Short: "Your servers: what they sell, how they are, taking them out",
		Long:  "Your servers. One is named by its name, or by its id where several have the name.",
	}, listServers(s), showServer(s), cordon(s), uncordon(s), drain(s), removeServer(s), benchmark(s))
}

// servers completes the names of servers, ids where names are not unique.
func servers(s *session.Session) cobra.CompletionFunc {
	return first(complete(s, func(ctx context.Context, at seat) ([]string, error) {
		all, err := at.cloud.Servers(ctx, at.provider)
		seen := map[string]int{}
		for _, v := range all {
			seen[v.Name]++
		}
		words := make([]string, len(all))
		for i, v := range all {
			words[i] = v.Name
			if seen[v.Name] > 1 || v.Name == "" {
				words[i] = v.ID
			}
		}
		return words, err
	}))
}

func listServers(s *session.Session) *cobra.Command {
	return verb(s, &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List your servers with what is sold of them",
		Example: session.Lines(
			"cpucloud provider server list",
			"cpucloud provider server list -o json | jq -r '.[] | select(.problem) | [.name, .problem] | @tsv'",
		),
		Args: cobra.NoArgs,
	}, func(ctx context.Context, at seat, _ []string) error {
		all, err := at.cloud.Servers(ctx, at.provider)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			at.Notef("No servers. `cpucloud provider token` lets one join.")
		}
		return at.Print(all, table(all...))
	})
}

func table(all ...client.Server) session.Table {
	t := session.Table{Header: []string{"name", "state", "datacenter", "offer", "vms", "vcpu", "ram gib", "storage gib", "addresses", "heard", "problem"}}
	for _, v := range all {
		t.Add(cmp.Or(v.Name, v.ID), stateOf(v), v.Datacenter, cmp.Or(v.Offer, "-"), fmt.Sprint(v.VMs), sold(v.Used.VCPU, v.Capacity.VCPU),
			sold(v.Used.RAMGiB, v.Capacity.RAMGiB), sold(v.Used.StorageGiB, v.Capacity.StorageGiB), sold(v.Used.Addresses, v.Capacity.Addresses),
			perhaps(v.HeardAt), cmp.Or(problem(v), "-"))
	}
	return t
}

// sold says how much of how much is taken.
func sold(used, total int64) string { return fmt.Sprintf("%d/%d", used, total) }

func stateOf(v client.Server) string {
	if v.UnreachableSince != nil && v.State != "removed" {
		return v.State + ", unreachable"
	}
	return v.State
}

func problem(v client.Server) string {
	if v.Problem == nil {
		return ""
	}
	return *v.Problem
}

func perhaps(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return when(*t)
}
