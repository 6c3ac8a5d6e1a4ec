package admin

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// fleetPart is how much of a fleet one request carries, in bytes: well below
// what the API accepts, with its quotes.
const fleetPart = 900_000

func simulate(s *session.Session) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Add simulated servers, to try a large market",
		Long: `Add simulated servers, to try a large market. Their agents exist in the server's process alone: VMs on them
become Active after a moment, and nothing runs. Works only where the server was started with --allow-simulation.

A line of the file is a server: number, provider, datacenter, country, CPU manufacturer, CPU architecture, memory,
storage, vCPU, RAM GiB, storage GiB, addresses, how much of these four is taken, and the price in micro-USDC per
epoch of 1 vCPU with 2 GiB of RAM and 12.5 GiB of storage.`,
		Example: session.Lines("cpucloud admin simulate --fleet fleet.csv", "head -1000 fleet.csv | cpucloud admin simulate --fleet -"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := openFleet(s, file)
			if err != nil {
				return err
			}
			defer in.Close() //nolint:errcheck // it was only read
			cloud, err := s.Admin()
			if err != nil {
				return err
			}
			total, part := 0, strings.Builder{}
			send := func(more bool) error {
				n, err := cloud.SimulateFleet(cmd.Context(), part.String(), more)
				total += n
				part.Reset()
				if more {
					fmt.Fprintf(s.Err, "%d servers\n", total)
				}
				return err
			}
			lines := bufio.NewScanner(in)
			for lines.Scan() {
				if part.Len()+len(lines.Bytes()) >= fleetPart {
					if err := send(true); err != nil {
						return err
					}
				}
				part.Write(lines.Bytes())
				part.WriteByte('\n')
			}
			if err := lines.Err(); err != nil {
				return fault.Newf(fault.Invalid, "the fleet can't be read: %v", err)
			}
			if err := send(false); err != nil {
				return err
			}
			var t session.Table
			t.Add(fmt.Sprintf("%d simulated servers were added", total))
			return s.Print(struct {
				Servers int `json:"servers"`
			}{total}, t)
		},
	}
	cmd.Flags().StringVar(&file, "fleet", "", "file of servers, one per line of CSV; - is standard input")
	_ = cmd.MarkFlagRequired("fleet") // it fails for unknown flags only
	return cmd
}

func openFleet(s *session.Session, file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(s.In), nil
	}
	in, err := os.Open(file)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "the fleet can't be read: %v", err)
	}
	return in, nil
}
