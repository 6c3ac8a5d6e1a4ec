// Package seed makes the small read-only disk from which a VM learns at its
// first boot who it is: a NoCloud volume as cloud-init reads it.
//
// See https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html.
package seed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/cpucloud/cpucloud/internal/userdata"
)

// Label is the name of the volume, by which guests find it.
const Label = "cidata"

// Seed is what a VM is told.
type Seed struct {
	InstanceID string // cloud-init sets a VM up anew when this changes
	Hostname   string
	SSHKeys    []string // public key lines, for the user whom the image calls its default
	UserData   userdata.Text
	Network    Network
	Others     []Network // of further cards: eth1, eth2, …, in this order
	At         time.Time // when the volume says it was made; the same Seed gives the same bytes
}

// Network is how the VM has to configure a card.
type Network struct {
	DHCP    bool         // ask for everything but MAC by DHCP
	MAC     string       // 52:54:00:…
	Address netip.Prefix // of the VM; the rest of the prefix is taken to be on its link
	Gateway netip.Addr   // on the link even if Address doesn't say so; not valid for a card that leads no further

	Address6 netip.Prefix // not valid where there is no IPv6
	Gateway6 netip.Addr   // of the link: fe80::…

	DNS []netip.Addr
}

// Write writes the disk to w. It returns an Invalid fault for text that can't
// be part of it: control characters, or more than fits.
func Write(w io.Writer, s Seed) error {
	files, err := s.files()
	if err != nil {
		return err
	}
	return writeISO(w, Label, s.At, files)
}

// WriteFile writes the disk to a file that only this user can open, in place
// of the one that may be there. A crash leaves the old one or the new one.
func WriteFile(path string, s Seed) error {
	var b bytes.Buffer
	if err := Write(&b, s); err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("open seed folder: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing is written through it
	name := filepath.Base(path)
	temp := name + ".part"
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove half-made seed: %w", err)
	}
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create seed: %w", err)
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		return fmt.Errorf("write seed: %w", errors.Join(err, root.Remove(temp)))
	}
	return nil
}
