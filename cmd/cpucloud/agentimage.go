package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/agent/local"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
)

// imageTool is what the commands about images have in common.
type imageTool struct {
	sys   cli.IO
	data  string
	flags imageFlags
	agent agentFlags // for the authority that signs certificates, and the log
}

func imageCommand(sys cli.IO) *cobra.Command {
	t := &imageTool{sys: sys}
	cmd := &cobra.Command{
		Use:   "image",
		Short: "List, fetch and remove the images on this machine",
		Long: `List, fetch and remove the images that this machine keeps for its VMs.

Beside a running agent these commands ask the agent, as its own user or root. Where none
runs they do it themselves, and --mirror, --allow-host and the limits hold as they would
for the agent; a running agent goes by those that it was started with.`,
		Example: `  cpucloud agent image list
  cpucloud agent image prefetch https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2
  cpucloud agent image gc`,
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&t.data, "data", cli.DefaultData(sys.Env), "data folder of the agent")
	flags.StringVar(&t.agent.host.caFile, "ca-file", "", "PEM file of a private authority that signs image servers' certificates")
	flags.BoolVarP(&t.agent.verbose, "verbose", "v", false, "log what is of use when looking for a fault")
	t.flags.registerKeeping(flags)
	cmd.AddCommand(t.list(), t.prefetch(), t.collect())
	return cmd
}

// with calls fn with the agent, or with the cache that no agent uses.
func (t *imageTool) with(ctx context.Context, fn func(local.Images) error) (err error) {
	dir, err := filepath.Abs(t.data)
	if err != nil {
		return fmt.Errorf("find data folder: %w", err)
	}
	if _, err := os.Stat(dir); err != nil {
		return fault.Newf(fault.NotFound, "there is no data folder %s; name the agent's with --data", dir)
	}
	remote, err := local.Dial(ctx, dir)
	if err == nil {
		return fn(remote)
	}
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	f, err := openFolder(dir) // so that no agent starts meanwhile
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	roots, err := authorities(t.agent.host.caFile)
	if err != nil {
		return err
	}
	cache, err := openImages(imagesDir(dir), t.flags, nil, roots, t.agent.logger(t.sys))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cache.Close()) }()
	return fn(local.Desk{Cache: cache, InUse: func() (map[string]bool, error) { return agent.UsedImages(dir) }})
}

func (t *imageTool) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the images on this machine",
		Long: `List the images on this machine, the one used last first. An image is in use as long as
a VM's disk lies on it. One that is not shared is for the account alone that fetched it.`,
		Example: `  cpucloud agent image list
  cpucloud agent image list -o json | jq -r '.images[] | select(.in_use | not) | .digest'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.with(cmd.Context(), func(i local.Images) error {
				stock, err := i.List(cmd.Context())
				if err != nil {
					return err
				}
				return printer(t.sys, cmd).Print(stock, stockTable(stock))
			})
		},
	}
}

func stockTable(s local.Stock) session.Table {
	t := session.Table{Header: []string{"DIGEST", "ON DISK", "SIZE", "USED", "IN USE", "SHARED", "URL"}}
	yes := map[bool]string{true: "yes", false: "no"}
	for _, i := range s.Images {
		url := "-"
		if len(i.URLs) > 0 {
			url = session.Clean(strings.Join(i.URLs, " "))
		}
		t.Add(i.Digest[:min(12, len(i.Digest))], mib(i.DiskBytes), mib(i.VirtualBytes), i.UsedAt.UTC().Format(time.DateTime), yes[i.InUse], yes[!i.Private], url)
	}
	return t
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// fetched is an image that was fetched ahead, for programs.
type fetched struct {
	URL      string `json:"url"`
	Digest   string `json:"digest"`
	Checksum string `json:"checksum"`
	Bytes    int64  `json:"virtual_bytes"`
}

func (t *imageTool) prefetch() *cobra.Command {
	return &cobra.Command{
		Use:   "prefetch URL...",
		Short: "Fetch images before anybody asks for them",
		Long: `Fetch images that are not there yet, so that the first VM need not wait. What you fetch
is for everybody, also where it came from a private host or with a signature in its URL.
What is there stays as it is. A download that breaks is gone on with the next time.`,
		Example: `  cpucloud agent image prefetch https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2
  cpucloud agent image prefetch https://images.lan/web.img https://images.lan/db.img --allow-host images.lan`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.with(cmd.Context(), func(i local.Images) error {
				var table session.Table
				done := []fetched{}
				for _, url := range args {
					base, err := i.Prefetch(cmd.Context(), url, tellProgress(t.sys.Err, t.sys.Now))
					if err != nil {
						return err
					}
					done = append(done, fetched{image.Redact(url), base.Digest, base.Checksum, base.VirtualBytes})
					table.Add(session.Clean(image.Redact(url)), mib(base.VirtualBytes), base.Checksum)
				}
				return printer(t.sys, cmd).Print(done, table)
			})
		},
	}
}

// tellProgress writes how far a fetch is, every few seconds.
func tellProgress(w io.Writer, now func() time.Time) func(image.Progress) {
	told := now()
	return func(p image.Progress) {
		if now().Sub(told) < 2*time.Second {
			return
		}
		told = now()
		of := ""
		if p.Total > 0 {
			of = fmt.Sprintf(" of %s (%d %%)", mib(p.Total), p.Done*100/p.Total)
		}
		fmt.Fprintf(w, "%s %s%s\n", p.Step, mib(p.Done), of)
	}
}

// freed is what a collection brought, for programs.
type freed struct {
	Bytes int64 `json:"freed_bytes"`
}

func (t *imageTool) collect() *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove images that are not needed",
		Long: `Remove images that were not used for --image-max-age, then those used longest ago as long
as all take more than --image-soft-quota, and downloads that broke too long ago. The agent
does so by itself every hour. An image on which a VM's disk lies is never removed, nor one
that was used within the last ten minutes.`,
		Example: `  cpucloud agent image gc
  cpucloud agent image gc --all -o json | jq .freed_bytes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.with(cmd.Context(), func(i local.Images) error {
				n, err := i.Collect(cmd.Context(), all)
				if err != nil {
					return err
				}
				var table session.Table
				table.Add("freed:", mib(n))
				return printer(t.sys, cmd).Print(freed{n}, table)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove all that no VM's disk lies on")
	return cmd
}
