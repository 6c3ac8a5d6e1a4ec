package vm

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
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
	want      market.Constraints
	image     string
	keys      []string
	ports     []string
	hostname  string
	requestID string
	instances int
	wait      bool
	timeout   time.Duration
}

func create(s *session.Session) *cobra.Command {
	w := wish{instances: 1, timeout: defaultTimeout}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create virtual machines",
		Long: "Create virtual machines on the cheapest servers that fit. Two epochs of rent are reserved: one is\n" +
			"charged when the VM becomes active, one is kept as its reserve. Port 22/tcp is always open.\n\n" +
			"A key is a public key's file or line, or the name or fingerprint of a registered key; without\n" +
			"--ssh-key your own ~/.ssh/id_ed25519.pub, id_ecdsa.pub and id_rsa.pub are used.\n\n" +
			"The request carries an id, so that it is safe to repeat: give the same --request-id again\n" +
			"after an interruption, and the first answer is given again instead of more VMs.",
		Example: session.Lines(
			"cpucloud vm create web --wait",
			"cpucloud vm create web --image ubuntu-24-04-x64 --port 80 --port 443 --country US,DE",
			"cpucloud vm create db --config cpu-4-ram-8gb-storage-25gb --extra-storage 100:NVMe --max-price 3",
			"cpucloud vm create worker --instances 3 --ssh-key laptop --request-id batch-7 -o json",
		),
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return w.run(cmd.Context(), s, args[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.StringVar(&w.image, "image", "", "slug of a recommended image, or the URL of any (default the demo image, else Ubuntu 24.04)")
	f.StringArrayVar(&w.keys, "ssh-key", nil, "who may log in; may be given several times")
	f.StringSliceVarP(&w.ports, "port", "p", nil, "port to open, such as 80 or 53/udp; may be given several times")
	f.StringVar(&w.hostname, "hostname", "", "host name inside the VM (default its name)")
	f.IntVarP(&w.instances, "instances", "n", w.instances, "how many VMs: all or none are made")
	f.BoolVar(&w.wait, "wait", false, "wait until they can be reached")
	f.DurationVar(&w.timeout, "timeout", w.timeout, "how long to wait")
	f.StringVar(&w.requestID, "request-id", "", "makes the request safe to repeat (default a new one)")
	w.want.Bind(s, cmd)
	session.CompleteFlag(cmd, "image", s.Complete(slugs))
	return cmd
}

func slugs(ctx context.Context, cloud *client.Client) ([]string, error) {
	images, err := cloud.DefaultImages(ctx)
	words := make([]string, len(images))
	for i, image := range images {
		words[i] = image.Slug
	}
	return words, err
}

func (w *wish) run(ctx context.Context, s *session.Session, name string) error {
	d, err := w.deployment(s, name)
	if err != nil {
		return err
	}
	cloud, err := s.Cloud()
	if err != nil {
		return err
	}
	if d.VM.OSImage, err = imageURL(ctx, cloud, w.image); err != nil {
		return err
	}
	made, err := cloud.Deploy(ctx, d)
	if client.Unreached(err) {
		s.Notef("It is not known whether anything was made. Repeat the command with --request-id %s to make sure.", d.RequestID)
	}
	if err != nil {
		return err
	}
	if !w.wait {
		return printMade(s, made)
	}
	return w.waitAll(ctx, s, cloud, made)
}

// deployment turns the flags into a request that lacks only the image.
func (w *wish) deployment(s *session.Session, name string) (client.Deployment, error) {
	d := client.Deployment{Instances: w.instances, RequestID: w.requestID}
	d.VM = client.VMConfiguration{Name: name, Hostname: w.hostname}
	var err error
	if d.Constraints, err = w.want.Value(); err != nil {
		return d, err
	}
	if d.VM.Ports, err = parsePorts(w.ports); err != nil {
		return d, err
	}
	if d.VM.SSHKeys, err = sshKeys(s, w.keys); err != nil {
		return d, err
	}
	if d.RequestID == "" {
		d.RequestID, err = newRequestID(s.Rand)
	}
	return d, err
}

func newRequestID(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return "cli-" + hex.EncodeToString(b[:]), nil
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

// preferred are the images taken when none is named; the demo image boots in
// seconds even without hardware virtualisation.
var preferred = []string{"demo", "ubuntu-24-04"}

// imageURL returns the address of the image that word names.
func imageURL(ctx context.Context, cloud *client.Client, word string) (string, error) {
	if strings.Contains(word, "://") {
		return word, nil
	}
	images, err := cloud.DefaultImages(ctx)
	if err != nil {
		return "", err
	}
	if word == "" {
		return defaultImage(images)
	}
	known := make([]string, len(images))
	for i, image := range images {
		if strings.EqualFold(image.Slug, word) {
			return image.DownloadURL, nil
		}
		known[i] = session.Clean(image.Slug)
	}
	return "", fault.Newf(fault.Invalid, "no image %q: give a URL, or one of %s", word, strings.Join(known, ", "))
}

func defaultImage(images []client.Image) (string, error) {
	for _, word := range preferred {
		if i := slices.IndexFunc(images, func(i client.Image) bool { return strings.Contains(i.Slug, word) }); i >= 0 {
			return images[i].DownloadURL, nil
		}
	}
	if len(images) == 0 {
		return "", fault.New(fault.Invalid, "this cloud recommends no image: give the URL of one with --image")
	}
	return images[0].DownloadURL, nil
}

func printMade(s *session.Session, made []client.Deployed) error {
	type vm struct {
		ID   string `json:"id"`
		Name string `json:"vmName"`
	}
	all := make([]vm, len(made))
	t := session.Table{Header: []string{"id", "name"}}
	for i, m := range made {
		all[i] = vm(m)
		t.Add(m.ID, m.Name)
		s.Notef("Accepted. `cpucloud vm wait %s` waits until it can be reached.", handle(m.ID, m.Name, len(made)))
	}
	return printOneOrMany(s, all, t)
}

// waitAll waits for one VM after the other: they boot at the same time. All
// are printed, also when one failed.
func (w *wish) waitAll(ctx context.Context, s *session.Session, cloud *client.Client, made []client.Deployed) error {
	end := s.Now().Add(w.timeout)
	var vms []client.VM
	var first error
	for _, m := range made {
		one := waiter{s, cloud, max(end.Sub(s.Now()), time.Second)}
		v, err := one.until(ctx, client.VM{ID: m.ID, Name: m.Name, Status: client.StatusNew}, client.StatusActive)
		switch {
		case err == nil:
			s.Notef("Connect: cpucloud vm ssh %s", handle(m.ID, m.Name, len(made)))
		case ctx.Err() != nil:
			s.Notef("No longer waiting; the VM goes on starting: `cpucloud vm wait %s`", m.ID)
			return err
		case first == nil:
			first = err
		default:
			s.Notef("error: %v", err)
		}
		vms = append(vms, v)
	}
	if err := printOneOrMany(s, vms, table(vms)); err != nil {
		return err
	}
	return first
}

// handle is what to call one of several VMs on the command line, where a name
// that begins with a hyphen is a flag.
func handle(id, name string, of int) string {
	if of == 1 && !strings.HasPrefix(name, "-") {
		return name
	}
	return id
}

// printOneOrMany prints an object for one thing, an array for several.
func printOneOrMany[T any](s *session.Session, all []T, t session.Table) error {
	if len(all) == 1 {
		return s.Print(all[0], t)
	}
	return s.Print(all, t)
}
