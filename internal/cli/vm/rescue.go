package vm

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	cryptossh "golang.org/x/crypto/ssh"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func rescue(s *session.Session) *cobra.Command {
	var image, checksum string
	var r client.Rescue
	var pair keyPair
	return act{
		verb: "rescue", short: "Have a virtual machine run a rescue image",
		long: "Have a virtual machine run a rescue image, with its own disk as the second one, to be mounted and\n" +
			"mended: `lsblk` shows it. A key pair is made for it, in a file of its own in the data folder; no other\n" +
			"key logs in. `cpucloud vm ssh` uses it meanwhile. `cpucloud vm unrescue` goes back.",
		examples: []string{
			"cpucloud vm rescue web --wait && cpucloud vm ssh web",
			"cpucloud vm rescue web --image debian-12-x64",
		},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&image, "image", "", "slug or URL of the image (default the cloud's own)")
			f.StringVar(&checksum, "image-checksum", "", "what the image has to have: sha256: and 64 hex digits")
		},
		prepare: func(ctx context.Context, cloud *client.Client, _ []string) (err error) {
			if checksum != "" && !checksumPattern.MatchString(checksum) {
				return badChecksum(checksum)
			}
			if image != "" {
				image, err = imageURL(ctx, cloud, image)
			}
			if err != nil {
				return err
			}
			pair, err = newKeyPair(s)
			r.SSHKey, r.Image, r.ImageChecksum = pair.public, image, checksum
			return err
		},
		do: func(c *client.Client, ctx context.Context, id, requestID string) (client.Operation, error) {
			return c.RescueVM(ctx, id, r, requestID)
		},
		after: func(v client.VM) error { // not before: a rescue that goes on has its key there
			path, err := rescueKey(s, v.ID)
			if err == nil {
				err = replaceFile(path, pair.private)
			}
			if err == nil {
				s.Notef("The key of this rescue is %s. Log in with: cpucloud vm ssh %s", path, v.Name)
			}
			return err
		},
	}.command(s)
}

func unrescue(s *session.Session) *cobra.Command {
	return act{
		verb: "unrescue", short: "Have a virtual machine run on its own disk again",
		long:     "Have a virtual machine in rescue run on its own disk again, as that was left. The disk of the\nrescue system is purged, and its key with it.",
		examples: []string{"cpucloud vm unrescue web", "cpucloud vm unrescue web --wait && cpucloud vm ssh web"},
		do:       (*client.Client).UnrescueVM,
		after: func(v client.VM) error {
			path, err := rescueKey(s, v.ID)
			if err == nil {
				err = os.Remove(path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return err
		},
	}.command(s)
}

// keyPair is an SSH key pair as files have it.
type keyPair struct {
	private []byte
	public  string
}

func newKeyPair(s *session.Session) (keyPair, error) {
	_, private, err := ed25519.GenerateKey(s.Rand)
	if err != nil {
		return keyPair{}, fmt.Errorf("make key pair: %w", err)
	}
	block, err := cryptossh.MarshalPrivateKey(private, "cpucloud rescue")
	if err != nil {
		return keyPair{}, fmt.Errorf("make key pair: %w", err)
	}
	signer, err := cryptossh.NewSignerFromKey(private)
	if err != nil {
		return keyPair{}, fmt.Errorf("make key pair: %w", err)
	}
	line := strings.TrimSpace(string(cryptossh.MarshalAuthorizedKey(signer.PublicKey())))
	return keyPair{pem.EncodeToMemory(block), line + " rescue"}, nil
}

// keyOfRescue returns the file of the key of a VM's rescue, "" when this is not where it
// was made.
func keyOfRescue(s *session.Session, v client.VM) (string, error) {
	path, err := rescueKey(s, v.ID)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		s.Notef("The key of this rescue is not in %s: give it with --identity.", path)
		return "", nil
	}
	return path, nil
}

// rescueKey returns the file of the key that logs in to a VM in rescue; it may not
// exist.
func rescueKey(s *session.Session, id string) (string, error) {
	dir, err := ownDir(s, "rescue-keys")
	return filepath.Join(dir, strings.ToLower(id)), err
}
