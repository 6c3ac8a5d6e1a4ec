package vm

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/key"
	"github.com/cpucloud/cpucloud/internal/cli/market"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// wish is what the flags of create say.
type wish struct {
	want      market.Placing
	quote     string
	image     string
	snapshot  string
	export    string
	checksum  string
	userData  string
	labels    []string
	keys      []string
	ports     []string
	hostname  string
	requestID string
	wait      bool
	timeout   time.Duration
	dry       session.DryRun
}

// checksumPattern is how a checksum is written.
var checksumPattern = regexp.MustCompile(`^sha256:[0-9A-Fa-f]{64}$`)

func create(s *session.Session) *cobra.Command {
	w := wish{timeout: defaultTimeout}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create virtual machines",
		Long: "Create virtual machines on the cheapest servers that fit. Two epochs of rent are reserved: one is\n" +
			"charged when the VM becomes active, one is kept as its reserve. Port 22/tcp is always open.\n\n" +
			"A key is a public key's file or line, or the name or fingerprint of a registered key; without\n" +
			"--ssh-key your own ~/.ssh/id_ed25519.pub, id_ecdsa.pub and id_rsa.pub are used.\n\n" +
			"With --image-checksum no VM is made of an image that differs from what you expect: it is Failed, and the\n" +
			"deposit is back. The checksum is that of the file as it is downloaded, as publishers print it.\n\n" +
			"With --user-data FILE each VM does at its first boot what the file says: #cloud-config, a script that\n" +
			"begins with #!, or MIME multipart, of at most 16 KiB; - is standard input. It may hold secrets: nobody is\n" +
			"shown it again. The server where the VM runs has to know it. The image has to have cloud-init.\n\n" +
			"With --snapshot the VM is made of a snapshot, on the server where that is: another machine, with its own name,\n" +
			"host keys and machine id: `cpucloud vm create staging --snapshot ID`. `cpucloud vm snapshot list` tells ids.\n" +
			"With --export it is made of an export, on the cheapest server that fits; `cpucloud vm export list` tells ids.\n\n" +
			"With --quote the VMs take the places of a quote, at its price, instead of the cheapest. --dry-run goes\n" +
			"through all checks and tells the cost, what would be left of the balance, and of the limits.\n\n" +
			"The request carries an id, so that it is safe to repeat: give the same --request-id again\n" +
			"after an interruption, and the first answer is given again instead of more VMs.",
		Example: session.Lines(
			"cpucloud vm create web --image ubuntu-24-04-x64 --port 80 --port 443 --country US,DE --wait",
			"cpucloud vm create db -n 3 --extra-storage 100:NVMe --max-price 3 --min-tier 3 --anti-affinity db --label env=prod --label tier=db",
			"cpucloud vm create worker --instances 3 --export exp_06h8k3a1r4c1r7f3m5t9d0b2ng --user-data setup.yaml --ssh-key laptop --request-id batch-7 -o json",
			"cpucloud vm create web --quote quo_06abk5 --image https://example.org/os.qcow2 --image-checksum sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --dry-run",
		),
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return w.run(cmd, s, args[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.StringVar(&w.image, "image", "", "slug of a recommended image, or the URL of any (default the demo image, else Ubuntu 24.04)")
	f.StringVar(&w.snapshot, "snapshot", "", "id of a snapshot that they are made of, instead of an image")
	f.StringVar(&w.export, "export", "", "id of an export that they are made of, instead of an image")
	f.StringVar(&w.checksum, "image-checksum", "", "sha256:HEX that the image has to have as it is downloaded")
	f.StringArrayVar(&w.labels, "label", nil, "label of each VM, such as env=prod; may be given several times")
	f.StringVar(&w.userData, "user-data", "", "file of what each VM does at its first boot; - is standard input")
	f.StringArrayVar(&w.keys, "ssh-key", nil, "who may log in; may be given several times")
	f.StringSliceVarP(&w.ports, "port", "p", nil, "port to open, such as 80 or 53/udp; may be given several times")
	f.StringVar(&w.hostname, "hostname", "", "host name inside the VM (default its name)")
	f.BoolVar(&w.wait, "wait", false, "wait until they can be reached")
	f.DurationVar(&w.timeout, "timeout", w.timeout, "how long to wait")
	f.StringVar(&w.requestID, "request-id", "", "makes the request safe to repeat (default a new one)")
	f.StringVar(&w.quote, "quote", "", "id of a quote whose places to take; it stands for all filters")
	w.want.Bind(s, cmd)
	w.dry.Bind(cmd)
	session.CompleteFlag(cmd, "image-checksum", cobra.NoFileCompletions)
	session.CompleteFlag(cmd, "snapshot", s.Complete(availableSnapshots))
	session.CompleteFlag(cmd, "export", s.Complete(exportWords))
	session.CompleteFlag(cmd, "quote", cobra.NoFileCompletions)
	session.CompleteFlag(cmd, "label", cobra.NoFileCompletions)
	session.CompleteFlag(cmd, "image", s.Complete(slugs))
	return cmd
}

func (w *wish) run(cmd *cobra.Command, s *session.Session, name string) error {
	ctx := cmd.Context()
	if set := w.want.Given(cmd); w.quote != "" && len(set) > 0 {
		return fault.Newf(fault.Invalid, "a quote holds what was asked for when it was made: leave out %s, or leave out --quote", strings.Join(set, ", "))
	}
	d, err := w.deployment(s, name)
	if err != nil {
		return err
	}
	cloud, err := s.Cloud()
	if err != nil {
		return err
	}
	if d.VM.OSImage, err = w.source(ctx, cloud); err != nil {
		return err
	}
	if w.dry {
		return w.plan(ctx, s, cloud, d)
	}
	newer := w.quote != "" || w.snapshot != "" || w.export != "" || w.checksum != "" || w.userData != "" || len(w.labels) > 0 || len(w.want.News(cmd)) > 0
	made, err := deploy(ctx, cloud, d, newer)
	if client.Unreached(err) {
		s.Notef("It is not known whether anything was made. Repeat the command with --request-id %s to make sure.", d.RequestID)
	}
	if err != nil {
		return market.Explained(ctx, s, cloud, d.Placing, err)
	}
	if !w.wait {
		return printMade(s, made)
	}
	return w.waitAll(ctx, s, cloud, made)
}

// source returns the URL of the image that the VMs are made of, "" for a snapshot or an
// export.
func (w *wish) source(ctx context.Context, cloud *client.Client) (string, error) {
	switch {
	case w.snapshot == "" && w.export == "":
		return imageURL(ctx, cloud, w.image)
	case w.image != "" || w.checksum != "" || w.snapshot != "" && w.export != "":
		return "", fault.New(fault.Invalid, "a VM is made of one thing: give --image (with --image-checksum), --snapshot or --export")
	}
	return "", nil
}

// deploy makes VMs by the newer of two ways where only that can say what is
// wanted.
func deploy(ctx context.Context, cloud *client.Client, d client.PlacedDeployment, newer bool) ([]client.Deployed, error) {
	if newer {
		return cloud.DeployWith(ctx, d)
	}
	return cloud.Deploy(ctx, client.Deployment{
		Constraints: d.Constraints.Constraints, Instances: d.Instances, RequestID: d.RequestID, VM: d.VM,
	})
}

// deployment turns the flags into a request that lacks only the image.
func (w *wish) deployment(s *session.Session, name string) (client.PlacedDeployment, error) {
	d := client.PlacedDeployment{RequestID: w.requestID, QuoteID: w.quote, ImageChecksum: w.checksum, Snapshot: w.snapshot, Export: w.export}
	d.VM = client.VMConfiguration{Name: name, Hostname: w.hostname}
	var err error
	if w.checksum != "" && !checksumPattern.MatchString(w.checksum) {
		return d, badChecksum(w.checksum)
	}
	if d.UserData, err = readUserData(s, w.userData); err != nil {
		return d, err
	}
	if d.Labels, err = parseLabels(w.labels); err != nil {
		return d, err
	}
	if d.Placing, err = w.want.Request(); err != nil {
		return d, err
	}
	if d.VM.Ports, err = parsePorts(w.ports); err != nil {
		return d, err
	}
	if d.VM.SSHKeys, err = sshKeys(s, w.keys); err != nil {
		return d, err
	}
	if d.RequestID == "" {
		d.RequestID, err = s.NewRequestID()
	}
	return d, err
}

func badChecksum(text string) error {
	return fault.Newf(fault.Invalid, "--image-checksum %q is not sha256: and 64 hex digits, as `sha256sum FILE` prints them", text)
}

// sshKeys returns key lines for files and lines, and leaves names and
// fingerprints to the cloud.
func sshKeys(s *session.Session, words []string) ([]string, error) {
	if len(words) == 0 {
		return key.Defaults(s)
	}
	var keys []string
	for _, word := range words {
		line, isKey, err := key.Read(s, word)
		if err != nil {
			return nil, err
		}
		if !isKey {
			line = word
		}
		keys = append(keys, line)
	}
	return keys, nil
}
