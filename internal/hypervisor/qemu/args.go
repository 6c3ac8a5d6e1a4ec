package qemu

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

// The numbers of the files that QEMU inherits. Disks follow in the order of
// files(): each one, then what it lies on.
const (
	lockFD = 3 + iota // held as long as the machine lives, unknown to QEMU
	qmpFD
	serialFD
	agentFD
	nicFD
	firstDiskFD
)

// translated is how many MiB TCG has for translated code. Left to itself it sets
// aside up to 1 GiB.
const translated = 256

// args is a command line under construction. Values that are not constants
// go through json or number, so that none can be read as something else.
type args []string

func (a *args) add(words ...string) { *a = append(*a, words...) }

// json adds an option whose value is an object. v is made of strings, numbers
// and booleans, which always encode.
func (a *args) json(option string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		text = fmt.Appendf(nil, "unencodable %T", v) // QEMU refuses it
	}
	a.add(option, string(text))
}

// fileNode is a block device that is a file QEMU has inherited.
type fileNode struct {
	Driver   string `json:"driver"`
	Name     string `json:"node-name"`
	Filename string `json:"filename"`
	ReadOnly bool   `json:"read-only"`
	Discard  string `json:"discard"`
}

// formatNode is what a file contains. Its format and what it lies on are
// always said, so that nothing inside the file is believed about either.
type formatNode struct {
	Driver   string          `json:"driver"`
	Name     string          `json:"node-name"`
	File     string          `json:"file"`
	ReadOnly bool            `json:"read-only"`
	Discard  string          `json:"discard"`
	Backing  json.RawMessage `json:"backing,omitempty"` // a name; null for none, whatever the file says
}

type blockDevice struct {
	Driver    string `json:"driver"`
	ID        string `json:"id"`
	Drive     string `json:"drive"`
	BootIndex int    `json:"bootindex"`
}

type netDevice struct {
	Driver  string `json:"driver"`
	ID      string `json:"id"`
	NetDev  string `json:"netdev"`
	MAC     string `json:"mac"`
	ROMFile string `json:"romfile"` // none: guests don't boot from the network
}

type netBackend struct {
	Type   string   `json:"type"`
	ID     string   `json:"id"`
	FD     string   `json:"fd,omitempty"`
	Server *bool    `json:"server,omitempty"`
	Addr   *netAddr `json:"addr,omitempty"`
}

type netAddr struct {
	Type string `json:"type"`
	FD   string `json:"str"`
}

type object struct {
	Type string `json:"qom-type"`
	ID   string `json:"id"`
}

type rngDevice struct {
	Driver string `json:"driver"`
	ID     string `json:"id"`
	RNG    string `json:"rng"`
}

// guestAgent is the name of the port on which agents of guests listen.
const guestAgent = "org.qemu.guest_agent.0"

type serialBus struct {
	Driver string `json:"driver"`
	ID     string `json:"id"`
	Ports  int    `json:"max_ports"` // the first is set aside for a console (hw/char/virtio-serial-bus.c)
}

type serialPort struct {
	Driver  string `json:"driver"`
	ID      string `json:"id"`
	Chardev string `json:"chardev"`
	Name    string `json:"name"`
}

// commandLine returns QEMU's arguments for m. No path is among them: QEMU gets
// open files and couldn't open any itself.
func commandLine(m hypervisor.Machine, accel Accelerator) []string {
	a := board(accel, m.VCPU, fmt.Sprintf("%dG", m.RAMGiB))
	a.add("-name", "guest="+m.ID)
	a.add("-chardev", fmt.Sprintf("socket,id=qmp,fd=%d,server=on,wait=off", qmpFD), "-mon", "chardev=qmp,mode=control")
	// What the guest writes while nobody is connected is dropped by QEMU (tcp_chr_write
	// in chardev/char-socket.c); a client that doesn't read makes the guest's port wait.
	a.add("-chardev", fmt.Sprintf("socket,id=serial,fd=%d,server=on,wait=off", serialFD), "-serial", "chardev:serial")
	a.add("-chardev", fmt.Sprintf("socket,id=agent,fd=%d,server=on,wait=off", agentFD))
	a.json("-device", serialBus{"virtio-serial-pci", "ports0", 2})
	a.json("-device", serialPort{"virtserialport", "agent0", "agent", guestAgent})
	fd := firstDiskFD
	for i, d := range m.Disks {
		node := a.disk(d, &fd)
		a.json("-device", blockDevice{"virtio-blk-pci", fmt.Sprintf("blk%d", i), node, i})
	}
	a.nic(m.NIC)
	a.json("-object", object{"rng-builtin", "entropy"})
	a.json("-device", rngDevice{"virtio-rng-pci", "rng0", "entropy"})
	return a
}

// board returns the arguments that every guest gets, the probe's as well.
func board(accel Accelerator, vcpu int, ram string) args {
	cpu, accelerator := "host", "kvm"
	if accel == TCG {
		cpu, accelerator = "max", fmt.Sprintf("tcg,thread=multi,tb-size=%d", translated)
	}
	return args{
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "q35,usb=off,sata=off,smbus=off,smm=off,vmport=off,graphics=off,dump-guest-core=off",
		"-accel", accelerator,
		"-cpu", cpu,
		"-smp", fmt.Sprintf("cpus=%d,sockets=1,cores=%d,threads=1", vcpu, vcpu),
		"-m", ram,
		"-rtc", "base=utc",
		"-boot", "menu=off,strict=on",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
	}
}

// disk adds the nodes of d, what it lies on first, and returns the name of the
// uppermost. fd is the number of its file and becomes that of the next disk's.
func (a *args) disk(d hypervisor.Disk, fd *int) string {
	n := strconv.Itoa(*fd)
	*fd++
	var backing json.RawMessage
	switch {
	case d.Backing != nil:
		lower := *d.Backing
		lower.ReadOnly = true
		backing = json.RawMessage(strconv.Quote(a.disk(lower, fd)))
	case d.Format == hypervisor.QCOW2:
		backing = json.RawMessage("null")
	}
	discard := "unmap"
	if d.ReadOnly {
		discard = "ignore"
	}
	a.add("-add-fd", "fd="+n+",set="+n)
	a.json("-blockdev", fileNode{"file", "file" + n, "/dev/fdset/" + n, d.ReadOnly, discard})
	a.json("-blockdev", formatNode{string(d.Format), "disk" + n, "file" + n, d.ReadOnly, discard, backing})
	return "disk" + n
}

func (a *args) nic(n hypervisor.NIC) {
	fd := strconv.Itoa(nicFD)
	backend := netBackend{Type: "tap", ID: "net0", FD: fd}
	if n.Kind == hypervisor.Stream {
		backend = netBackend{Type: "stream", ID: "net0", Server: new(bool), Addr: &netAddr{"fd", fd}}
	}
	a.json("-netdev", backend)
	a.json("-device", netDevice{"virtio-net-pci", "nic0", "net0", strings.ToLower(n.MAC), ""})
}
