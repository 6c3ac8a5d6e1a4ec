package main

import (
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/network/loopback"
)

// networkHelper is the hidden command that the loopback network starts.
const networkHelper = "network-helper"

func networkHelperCommand() *cobra.Command {
	return &cobra.Command{
		Use:    networkHelper,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return loopback.Serve(cmd.Context(), time.Now, slog.New(slog.NewTextHandler(os.Stderr, nil)))
		},
	}
}
