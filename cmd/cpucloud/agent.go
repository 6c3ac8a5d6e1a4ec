package main

import (
	"context"
	"crypto/rand"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func agentCommand(sys cli.IO) *cobra.Command {
	var cloud cloudFlags
	var flags hostFlags
	var url, tokenFile string
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run this machine as a server of a marketplace",
		Long: `Run this machine as a server of a marketplace. It dials out, so it works behind NAT.

The first start needs a join token, which the operator makes with
` + "`cpucloud admin token create`" + `. Give it in a file or in CPUCLOUD_JOIN_TOKEN, not on
the command line, where every user of the machine could read it.`,
		Example: `  CPUCLOUD_JOIN_TOKEN=join_… cpucloud agent --url https://cloud.example.org
  cpucloud agent --url https://cloud.example.org --join-token-file token --data /var/lib/cpucloud-agent
  cpucloud agent --url https://cloud.example.org`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			f, err := openFolder(cloud.data)
			if err != nil {
				return err
			}
			defer f.Close() //nolint:errcheck // only a lock is let go
			h, err := openHost(f.path, flags, []string{hostPort(url)}, cloud.logger(sys.Err))
			if err != nil {
				return err
			}
			inv, facts, err := h.inventory(ctx)
			if err != nil {
				return err
			}
			if err := join(ctx, sys, tokenFile, agent.Enrollment{Dir: h.dir, URL: url, Inventory: inv, Rand: rand.Reader}); err != nil {
				return err
			}
			describe(sys.Err, facts, inv)
			return h.agent(url, inv).Run(ctx)
		},
	}
	cmd.Flags().StringVar(&cloud.data, "data", cli.DefaultData(sys.Env), "data folder; made for you alone")
	cmd.Flags().BoolVarP(&cloud.verbose, "verbose", "v", false, "log what is of use when looking for a fault")
	cmd.Flags().StringVar(&url, "url", "http://127.0.0.1:8080", "address of the control plane")
	cmd.Flags().StringVar(&tokenFile, "join-token-file", "", "file with the join token, for the first start")
	flags.register(cmd.Flags(), 1)
	return cmd
}

// join joins the marketplace unless the folder has before.
func join(ctx context.Context, sys cli.IO, tokenFile string, e agent.Enrollment) error {
	joined, err := agent.Enrolled(e.Dir)
	if joined || err != nil {
		return err
	}
	if e.Token, err = joinToken(sys, tokenFile); err != nil {
		return err
	}
	_, err = agent.Enroll(ctx, e)
	return err
}

// joinToken returns the token out of a file or the environment.
func joinToken(sys cli.IO, file string) (string, error) {
	token := sys.Env("CPUCLOUD_JOIN_TOKEN")
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fault.Newf(fault.Invalid, "the join token can't be read: %v", err)
		}
		token = strings.TrimSpace(string(text))
	}
	if token == "" {
		return "", fault.New(fault.Invalid,
			"this machine has not joined yet: give a join token by --join-token-file or CPUCLOUD_JOIN_TOKEN; the operator makes one with `cpucloud admin token create`")
	}
	return token, nil
}
