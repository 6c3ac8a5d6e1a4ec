package seed

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// maxText bounds each of the files.
const maxText = 1 << 20

// files returns what is on the disk. Who the VM is and who may log in is meta data,
// which no customer's user data can leave out. How we would have it set up is vendor
// data: cloud-init takes of it what user data doesn't say otherwise. A VM without user
// data is told all of it there as well, for readers of seeds that know no other file.
func (s Seed) files() ([]isoFile, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	meta, err := encode("", s.metaData())
	network, err1 := encode("", s.networkConfig())
	user, err2 := encode(cloudConfig, s.userData())
	vendor, err3 := vendorText()
	if s.UserData != "" {
		user = []byte(s.UserData)
	}
	return []isoFile{
		{name: "meta-data", text: meta}, {name: "network-config", text: network}, {name: "user-data", text: user}, {name: "vendor-data", text: vendor},
	}, cmp.Or(err, err1, err2, err3)
}

// encode returns content as YAML behind its first line.
func encode(head string, content any) ([]byte, error) {
	text, err := yaml.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode seed: %w", err)
	}
	if len(text) > maxText {
		return nil, fault.New(fault.Invalid, "the VM's SSH keys are too long")
	}
	return append([]byte(head), text...), nil
}

// check refuses text that can't be part of a seed.
func (s Seed) check() error {
	if len(s.UserData) > maxText {
		return fault.New(fault.Invalid, "the VM's user data is too long")
	}
	words := append([]string{s.InstanceID, s.Hostname, s.Network.MAC}, s.SSHKeys...)
	for _, n := range s.Others {
		words = append(words, n.MAC)
	}
	for _, w := range words {
		if !utf8.ValidString(w) {
			return fault.New(fault.Invalid, "host names and SSH keys have to be UTF-8")
		}
		for _, c := range w {
			if !unicode.IsPrint(c) {
				return fault.New(fault.Invalid, "host names and SSH keys must not contain control characters")
			}
		}
	}
	return nil
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
	InstanceID    text   `yaml:"instance-id"`
	LocalHostname text   `yaml:"local-hostname"`
	PublicKeys    []text `yaml:"public-keys"`
}

func (s Seed) metaData() metaData {
	return metaData{text(s.InstanceID), text(s.Hostname), s.keys()}
}

func (s Seed) keys() []text {
	keys := make([]text, len(s.SSHKeys))
	for i, k := range s.SSHKeys {
		keys[i] = text(k)
	}
	return keys
}

// cloudConfig is the first line of what cloud-init takes as its configuration.
const cloudConfig = "#cloud-config\n"

type userData struct {
	Hostname   text   `yaml:"hostname"`
	SSHKeys    []text `yaml:"ssh_authorized_keys"`
	vendorData `yaml:",inline"`
}

func (s Seed) userData() userData { return userData{text(s.Hostname), s.keys(), setUp()} }

type vendorData struct {
	PreserveHostname bool     `yaml:"preserve_hostname"`
	ManageEtcHosts   string   `yaml:"manage_etc_hosts"`
	Users            []string `yaml:"users"`
	SSHPasswords     bool     `yaml:"ssh_pwauth"`
	NewHostKeys      bool     `yaml:"ssh_deletekeys"` // for a disk that was another instance's before
	GrowPart         growPart `yaml:"growpart"`
	ResizeRoot       bool     `yaml:"resize_rootfs"`
}

type growPart struct {
	Mode    string   `yaml:"mode"`
	Devices []string `yaml:"devices"`
}

// setUp returns what is wanted of every VM.
func setUp() vendorData {
	return vendorData{ManageEtcHosts: "localhost", NewHostKeys: true, Users: []string{"default"}, GrowPart: growPart{"auto", []string{"/"}}, ResizeRoot: true}
}

// firstBoot is what a guest does at the first boot of an instance. A disk that was made of
// a snapshot was another instance's before, whose machine id it has: it gets one of its
// own, as cloud-init gives it host keys and a name. The guest agent of images that have
// it is started where they don't do so by themselves and the machine has the port
// that it talks through.
const firstBoot = `#!/bin/sh
before=/var/lib/cloud/data/previous-instance-id
if [ -s "$before" ] && ! grep -q NO_PREVIOUS_INSTANCE_ID "$before" && [ -s /etc/machine-id ]; then
	tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
	[ -L /var/lib/dbus/machine-id ] || [ ! -e /var/lib/dbus/machine-id ] || cat /etc/machine-id >/var/lib/dbus/machine-id
fi
[ -e /dev/virtio-ports/org.qemu.guest_agent.0 ] || exit 0
command -v qemu-ga >/dev/null || exit 0
systemctl start --no-block qemu-guest-agent 2>/dev/null || service qemu-guest-agent start 2>/dev/null || exit 0
`

// boundary parts what is in vendor data. It occurs in none of it.
const boundary = "==cpucloud-vendor-data=="

// vendorText returns what is wanted of every VM and firstBoot, as a message of two
// parts. A script rather than a command of the configuration: user data that has
// commands of its own would take their place.
func vendorText() ([]byte, error) {
	config, err := encode(cloudConfig, setUp())
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=%q\n\n", boundary)
	w := multipart.NewWriter(&b)
	err = w.SetBoundary(boundary)
	for _, part := range []struct {
		kind string
		text []byte
	}{{"text/cloud-config", config}, {"text/x-shellscript", []byte(firstBoot)}} {
		if err != nil {
			break
		}
		var into io.Writer
		if into, err = w.CreatePart(textproto.MIMEHeader{"Content-Type": {part.kind}}); err == nil {
			_, err = into.Write(part.text)
		}
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("encode vendor data: %w", err)
	}
	return b.Bytes(), nil
}
