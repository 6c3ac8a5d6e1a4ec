package bare

import (
	"slices"
	"strings"
	"testing"
)

// cloudArgs are those of a cloud's QEMU, shortened.
func cloudArgs() []string {
	return []string{
		"-nodefaults", "-m", "1G", "-smp", "cpus=2,sockets=1", "-name", "guest=0xA",
		"-chardev", "socket,id=qmp,fd=4,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
		"-chardev", "socket,id=serial,fd=5,server=on,wait=off", "-serial", "chardev:serial",
		"-add-fd", "fd=7,set=7",
		"-blockdev", `{"driver":"file","node-name":"file7","filename":"/dev/fdset/7","read-only":true}`,
		"-blockdev", `{"driver":"raw","node-name":"disk7","file":"file7","read-only":true}`,
		"-add-fd", "fd=6,set=6",
		"-blockdev", `{"driver":"file","node-name":"file6","filename":"/dev/fdset/6","read-only":false}`,
		"-blockdev", `{"driver":"qcow2","node-name":"disk6","file":"file6","read-only":false,"backing":"disk7"}`,
		"-blockdev", `{"driver":"file","node-name":"file8","filename":"/dev/fdset/8","read-only":true}`,
		"-netdev", `{"type":"tap","id":"net0","fd":"5"}`,
		"-device", `{"driver":"virtio-net-pci","id":"nic0","netdev":"net0","mac":"52:54:00:aa:00:01","romfile":""}`,
	}
}

func TestTake(t *testing.T) {
	t.Parallel()
	m := &Machine{base: "/images/base.raw"}
	if err := m.take(cloudArgs()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"-nodefaults", "-m", "1G", "-smp", "cpus=2,sockets=1", "-chardev", "socket,id=serial,path=serial,server=on,wait=off", "-serial", "chardev:serial",
		"-blockdev", `{"driver":"file","filename":"/images/base.raw","node-name":"file7","read-only":true}`,
		"-blockdev", `{"driver":"raw","node-name":"disk7","file":"file7","read-only":true}`,
		"-blockdev", `{"driver":"file","filename":"disk.qcow2","node-name":"file6","read-only":false}`,
		"-blockdev", `{"driver":"qcow2","node-name":"disk6","file":"file6","read-only":false,"backing":"disk7"}`,
		"-blockdev", `{"driver":"file","filename":"seed.iso","node-name":"file8","read-only":true}`,
		"-device", `{"driver":"virtio-net-pci","id":"nic0","netdev":"net0","mac":"52:54:00:aa:00:01","romfile":""}`,
	}
	if !slices.Equal(m.args, want) {
		t.Errorf("took\n%s\nwant\n%s", strings.Join(m.args, "\n"), strings.Join(want, "\n"))
	}
	if mac, err := m.MAC(); mac != "52:54:00:aa:00:01" || err != nil {
		t.Errorf("MAC is %q, %v", mac, err)
	}
	if n, err := m.vcpu(); n != 2 || err != nil {
		t.Errorf("%d processors, %v", n, err)
	}
}

// The bench would boot another disk than the cloud if it took one for another.
func TestTakeRefusesOtherDisks(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(string) string{
		"disk that can't be written": func(s string) string { return strings.Replace(s, `"read-only":false`, `"read-only":true`, 1) },
		"base that can be written": func(s string) string {
			return strings.Replace(s, `"file7","filename":"/dev/fdset/7","read-only":true`, `"file7","filename":"/dev/fdset/7","read-only":false`, 1)
		},
	} {
		args := cloudArgs()
		for i := range args {
			args[i] = change(args[i])
		}
		if err := (&Machine{base: "b"}).take(args); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	more := append(cloudArgs(), "-blockdev", `{"driver":"file","node-name":"file9","filename":"/dev/fdset/9","read-only":true}`)
	if err := (&Machine{base: "b"}).take(more); err == nil {
		t.Error("a fourth disk: taken")
	}
}
