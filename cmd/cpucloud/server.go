package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/internal/archive/s3"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/server"
)

// cloudFlags say how the control plane runs.
type cloudFlags struct {
	data        string
	listen      string
	publicURL   string
	database    string
	images      string
	clock       string
	epoch       time.Duration
	grace       time.Duration
	retention   time.Duration
	keepDeleted time.Duration
	keepDisks   time.Duration
	rescue      string
	rest        time.Duration
	fee         string
	limits      limitFlags
	archive     archiveFlags
	verbose     bool

	tlsCert string
	tlsKey  string

	simulation    bool
	simulatedBoot time.Duration
}

func (c *cloudFlags) register(flags *pflag.FlagSet, data string) {
	flags.StringVar(&c.data, "data", data, "data folder; made for you alone")
	flags.StringVar(&c.listen, "listen", "127.0.0.1:8080", "address to listen on; port 0 chooses a free one")
	flags.StringVar(&c.publicURL, "public-url", "", "how clients and agents reach it, if not by the address it listens on")
	flags.StringVar(&c.database, "database", "", "postgres://… instead of SQLite in the data folder; CPUCLOUD_DATABASE keeps a password out of sight")
	flags.StringVar(&c.images, "images", "", "folder of disk images to serve at /images/")
	flags.DurationVar(&c.epoch, "epoch", 24*time.Hour, "billing period of a VM")
	flags.DurationVar(&c.grace, "grace", 0, "how long a VM runs on with an epoch unpaid before it is powered off")
	flags.StringVar(&c.fee, "fee", "0", "what the platform keeps of what providers earn, in percent, such as 2.5")
	c.limits.register(flags)
	c.archive.register(flags)
	flags.DurationVar(&c.rest, "address-rest", 10*time.Minute, "how long the address of a VM that has ended is given to no other account")
	flags.DurationVar(&c.retention, "retention", 7*24*time.Hour, "how long the disk of an unpaid VM is kept")
	flags.DurationVar(&c.keepDeleted, "keep-deleted", 24*time.Hour, "how long the disk and the address of a deleted VM are kept, so that it can be undeleted; 0 for not at all")
	flags.DurationVar(&c.keepDisks, "keep-disks", 24*time.Hour, "how long the disk is kept that a VM had before it was reinstalled")
	flags.StringVar(&c.rescue, "rescue-image", "", "URL of the image that VMs in rescue run (default the demo image, or that of Debian 12)")
	flags.StringVar(&c.clock, "clock", "real", "billing clock: real, or test, which `cpucloud admin clock advance` moves")
	flags.StringVar(&c.tlsCert, "tls-cert", "", "PEM file of a certificate and its chain: answer https alone; read again when it changes")
	flags.StringVar(&c.tlsKey, "tls-key", "", "PEM file of the certificate's key")
	flags.BoolVar(&c.simulation, "allow-simulation", false, "let `cpucloud admin simulate` add servers that exist in this process alone; not for a marketplace with real customers")
	flags.DurationVar(&c.simulatedBoot, "simulated-boot", 3*time.Second, "how long VMs take to start on simulated servers")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "log what is of use when looking for a fault")
}

// start starts the control plane over an open data folder.
func (c *cloudFlags) start(ctx context.Context, f *folder, sys cli.IO, log *slog.Logger) (*server.Server, error) {
	if c.clock != "real" && c.clock != "test" {
		return nil, fault.Newf(fault.Invalid, "--clock is real or test, not %q", c.clock)
	}
	if c.keepDisks < time.Minute {
		return nil, fault.New(fault.Invalid, "--keep-disks is at least 1m: who reinstalls by mistake needs the time to see it")
	}
	if c.epoch < time.Second || c.retention < 0 || c.grace < 0 || c.rest < 0 || c.keepDeleted < 0 {
		return nil, fault.New(fault.Invalid, "--epoch is at least 1s, --grace, --retention, --keep-deleted and --address-rest at least 0s")
	}
	fee, err := ledger.ParseFee(c.fee)
	if err != nil {
		return nil, err
	}
	limits, err := c.limits.read()
	if err != nil {
		return nil, err
	}
	store, exports, err := c.archive.open(sys)
	if err != nil {
		return nil, err
	}
	database := c.database
	if database == "" {
		database = sys.Env("CPUCLOUD_DATABASE")
	}
	if database == "" {
		database = f.file("cloud.db")
	}
	s, err := server.Start(ctx, server.Config{
		Listen: c.listen, PublicURL: c.publicURL, Database: database, Images: c.images, Version: version(),
		Epoch: c.epoch, Grace: c.grace, Retention: c.retention, KeepDeleted: c.keepDeleted, KeepDisks: c.keepDisks, RescueImage: c.rescue, AddressRest: c.rest, Fee: fee, Limits: limits, TestClock: c.clock == "test", Simulation: c.simulation, SimulatedBoot: c.simulatedBoot,
		Archive: store, ExportLimits: exports,
		TLSCert: c.tlsCert, TLSKey: c.tlsKey, Now: time.Now, Rand: rand.Reader, Log: log,
	})
	if err == nil && store != nil {
		report(ctx, sys.Err, store)
	}
	return s, err
}

// report tells an operator whether the store of exports can be used. One that can't keeps
// nothing but exports from working.
func report(ctx context.Context, w io.Writer, store *s3.Store) {
	if err := store.Check(ctx); err != nil {
		fmt.Fprintf(w, "Warning: snapshots can't be exported: %s\n", fault.Message(err))
		return
	}
	fmt.Fprintf(w, "Snapshots are exported to %s\n", store.Location())
}

func (c *cloudFlags) logger(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if c.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// stopWithin is how long running requests may take once a process is told to stop.
const stopWithin = 10 * time.Second

// stop stops the control plane though ctx is done already.
func stop(ctx context.Context, s *server.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	return s.Stop(ctx)
}

func serverCommand(sys cli.IO) *cobra.Command {
	var flags cloudFlags
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the control plane alone; agents on other machines join it",
		Long: `Run the control plane: HTTP API, marketplace, billing. It runs no VMs itself.

It writes DIR/admin.env for the operator. Make a token for every server that is
to join with ` + "`cpucloud admin token create`" + `, or let its provider make one with
` + "`cpucloud provider token`" + `, and run ` + "`cpucloud agent join`" + ` there with it.

Agents and customers on other machines need https: give a certificate with
--tls-cert and --tls-key, or put a proxy with one in front.`,
		Example: `  cpucloud server --archive 's3://backups/cloud?endpoint=https://s3.example.org&region=eu-central-1' --archive-keys keys.env
  cpucloud server --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem --public-url https://cloud.example.org
  cpucloud server --data /var/lib/cpucloud --listen 127.0.0.1:8080 --public-url https://cloud.example.org
  CPUCLOUD_DATABASE=postgres://… cpucloud server --listen 0.0.0.0:8080`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			f, err := openFolder(flags.data)
			if err != nil {
				return err
			}
			defer f.Close() //nolint:errcheck // only a lock is let go
			s, err := flags.start(ctx, f, sys, flags.logger(sys.Err))
			if err != nil {
				return err
			}
			err = writeAdmin(ctx, f, s)
			if err == nil {
				fmt.Fprintf(sys.Err, "The control plane answers at %s\nThe operator's variables are in %s\n", s.URL, f.file("admin.env"))
				err = waitFor(ctx, s, nil)
			}
			return errors.Join(err, stop(ctx, s))
		},
	}
	flags.register(cmd.Flags(), cli.DefaultData(sys.Env))
	return cmd
}

// waitFor returns when ctx is done, or with the error of the part that ended
// before: the listener, or the agent.
func waitFor(ctx context.Context, s *server.Server, agent <-chan error) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.Failed():
		return fmt.Errorf("listener: %w", err)
	case err := <-agent:
		if err != nil {
			return fmt.Errorf("agent: %w", err)
		}
		return nil
	}
}
