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
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Label is the name of the volume, by which guests find it.
const Label = "cidata"

// Seed is what a VM is told.
type Seed struct {
	InstanceID string // cloud-init sets a VM up anew when this changes
	Hostname   string
	SSHKeys    []string // public key lines, for the user whom the image calls its default
	Network    Network
	At         time.Time // when the volume says it was made; the same Seed gives the same bytes
}

// Network is how the VM has to configure its one card.
type Network struct {
	DHCP    bool         // ask for everything but MAC by DHCP
	MAC     string       // 52:54:00:…
	Address netip.Prefix // of the VM; the rest of the prefix is taken to be on its link
	Gateway netip.Addr   // on the link even if Address doesn't say so

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

// maxText bounds each of the three files.
const maxText = 1 << 20

// files returns what is on the disk.
func (s Seed) files() ([]isoFile, error) {
	for _, t := range append([]string{s.InstanceID, s.Hostname, s.Network.MAC}, s.SSHKeys...) {
		if !utf8.ValidString(t) {
			return nil, fault.New(fault.Invalid, "host names and SSH keys have to be UTF-8")
		}
		for _, c := range t {
			if !unicode.IsPrint(c) {
				return nil, fault.New(fault.Invalid, "host names and SSH keys must not contain control characters")
			}
		}
	}
	var files []isoFile
	for _, f := range []struct {
		name, head string
		content    any
	}{
		{"meta-data", "", s.metaData()},
		{"network-config", "", s.Network.config()},
		{"user-data", "#cloud-config\n", s.userData()},
	} {
		text, err := yaml.Marshal(f.content)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", f.name, err)
		}
		if len(text) > maxText {
			return nil, fault.New(fault.Invalid, "the VM's SSH keys are too long")
		}
		files = append(files, isoFile{name: f.name, text: append([]byte(f.head), text...)})
	}
	return files, nil
}

// text is a string that somebody chose. It is always written in double quotes,
// so that no reader of any version of YAML takes it for a number ("1e3", a MAC
// address in base 60), a boolean ("on") or anything but one line of text.
type text string

// MarshalYAML implements yaml.Marshaler.
func (t text) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: string(t)}, nil
}

type metaData struct {
	InstanceID    text `yaml:"instance-id"`
	LocalHostname text `yaml:"local-hostname"`
}

func (s Seed) metaData() metaData {
	return metaData{text(s.InstanceID), text(s.Hostname)}
}

type userData struct {
	Hostname         text     `yaml:"hostname"`
	PreserveHostname bool     `yaml:"preserve_hostname"`
	ManageEtcHosts   string   `yaml:"manage_etc_hosts"`
	Users            []string `yaml:"users"`
	SSHKeys          []text   `yaml:"ssh_authorized_keys"`
	SSHPasswords     bool     `yaml:"ssh_pwauth"`
	GrowPart         growPart `yaml:"growpart"`
	ResizeRoot       bool     `yaml:"resize_rootfs"`
}

type growPart struct {
	Mode    string   `yaml:"mode"`
	Devices []string `yaml:"devices"`
}

func (s Seed) userData() userData {
	u := userData{
		Hostname: text(s.Hostname), ManageEtcHosts: "localhost", Users: []string{"default"}, SSHKeys: []text{},
		GrowPart: growPart{"auto", []string{"/"}}, ResizeRoot: true,
	}
	for _, k := range s.SSHKeys {
		u.SSHKeys = append(u.SSHKeys, text(k))
	}
	return u
}
