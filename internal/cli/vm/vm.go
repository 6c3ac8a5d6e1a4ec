// Package vm holds the commands for virtual machines.
package vm

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// Command is the noun vm.
func Command(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{
		Use:   "vm",
		Short: "Virtual machines",
		Long: "Create, watch, change and delete virtual machines. A VM is named by its name, by its id, or by\n" +
			"the first characters of its id: six or more, with the leading 0x.",
	}, create(s), list(s), show(s), top(s), metrics(s), wait(s), ssh(s), console(s), update(s), label(s), confirm(s), reboot(s), reset(s), shutdown(s), start(s), resize(s), undelete(s), snapshot(s), exports(s), reinstall(s), disks(s), returnDisk(s), purgeDisk(s), rescue(s), unrescue(s), protect(s), unprotect(s), remove(s))
}

const minPrefix = 6

var wholeID = regexp.MustCompile(`^0[xX][0-9a-fA-F]{40}$`)

// WholeID reports whether a word is a whole id.
func WholeID(word string) bool { return wholeID.MatchString(word) }

// Find returns the VM that word names. The fault is NotFound when there is
// none, Invalid when there are several.
func Find(ctx context.Context, cloud *client.Client, word string) (client.VM, error) {
	if wholeID.MatchString(word) {
		return cloud.VM(ctx, word)
	}
	all, err := cloud.VMs(ctx, client.ListOptions{})
	if err != nil {
		return client.VM{}, err
	}
	return pick(all, word)
}

// pickAll is pick for several words, out of what was listed; a VM that is named twice
// is picked once.
func pickAll(all []client.VM, words []string, err error) ([]client.VM, error) {
	if err != nil {
		return nil, err
	}
	var found []client.VM
	seen := map[string]bool{}
	for _, word := range words {
		v, err := pick(all, word)
		if err != nil {
			return nil, err
		}
		if !seen[v.ID] {
			seen[v.ID] = true
			found = append(found, v)
		}
	}
	return found, nil
}

// pick prefers a whole id to a name to the beginning of an id.
func pick(all []client.VM, word string) (client.VM, error) {
	var named, begun []client.VM
	for _, v := range all {
		switch {
		case strings.EqualFold(v.ID, word):
			return v, nil
		case v.Name == word:
			named = append(named, v)
		case len(word) >= minPrefix && len(word) < len(v.ID) && strings.EqualFold(v.ID[:len(word)], word):
			begun = append(begun, v)
		}
	}
	if len(named) == 0 {
		named = begun
	}
	switch len(named) {
	case 0:
		return client.VM{}, fault.Newf(fault.NotFound, "no VM %q: `cpucloud vm list` shows yours", word)
	case 1:
		return named[0], nil
	}
	var lines strings.Builder
	for _, v := range named {
		fmt.Fprintf(&lines, "\n  %s  %s  %s", session.Clean(v.ID), session.Clean(v.Name), session.Clean(v.Status))
	}
	return client.VM{}, fault.Newf(fault.Invalid, "%d VMs are meant by %q; give the id of one, or its first characters:%s", len(named), word, lines.String())
}

// Names completes the names of VMs; ids where names are not unique.
func Names(s *session.Session) cobra.CompletionFunc {
	return s.Complete(func(ctx context.Context, cloud *client.Client) ([]string, error) {
		all, err := cloud.VMs(ctx, client.ListOptions{})
		count := map[string]int{}
		for _, v := range all {
			count[v.Name]++
		}
		words := make([]string, len(all))
		for i, v := range all {
			words[i] = v.Name
			if count[v.Name] > 1 {
				words[i] = v.ID
			}
		}
		return words, err
	})
}

// only completes the first argument.
func only(f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, toComplete)
	}
}
