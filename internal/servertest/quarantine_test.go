package servertest_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	hypervisorfake "github.com/cpucloud/cpucloud/internal/hypervisor/fake"
	"github.com/cpucloud/cpucloud/internal/network"
	networkfake "github.com/cpucloud/cpucloud/internal/network/fake"
	"github.com/cpucloud/cpucloud/internal/servertest"
)

// A VM on the server that nobody asked for, as there is after a database was
// restored, is left as it is, over restarts too, and everything else goes on.
func TestUnknownVMIsLeft(t *testing.T) {
	t.Parallel()
	const unknown = "0x00000000000000000000000000000000000000AB"
	cloud := servertest.Start(t, servertest.Options{})
	a, anna := cloud.Agent(), cloud.Customer("10")
	disk := plant(t, a, unknown)
	for range 2 {
		id := deploy(t, anna, wish(cloud.Demo()))[0]
		reach(t, anna, id, client.StatusActive)
		remove(t, anna, id)
		cloud.Await("the known VM is removed", func() bool { return len(a.Files()) == 1 })
		a.Restart()
	}
	if a.Running()[unknown] != 1 || !a.Network.Plugged(unknown) {
		t.Errorf("start %d, plugged %t; want the machine left alone", a.Running()[unknown], a.Network.Plugged(unknown))
	}
	if text, err := os.ReadFile(disk); string(text) != "all that somebody has" {
		t.Errorf("the disk holds %q, %v", text, err)
	}
	if vms, err := anna.VMs(t.Context(), client.ListOptions{}); err != nil || len(vms) != 0 {
		t.Errorf("VMs %v, %v; want none", vms, err)
	}
}

// plant puts a VM on a server behind everyone's back and returns its disk.
func plant(t *testing.T, a *servertest.Agent, id string) (disk string) {
	t.Helper()
	disk = filepath.Join(a.Dir, "agent", "vms", id, "disk.qcow2")
	if err := os.MkdirAll(filepath.Dir(disk), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(disk, []byte("all that somebody has"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := networkfake.New(a.Network)
	l := network.Link{ID: id, Address: netip.MustParseAddr("127.77.1.250"), MAC: "52:54:00:00:00:01"}
	if err := n.Ensure(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	plug, err := n.Plug(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	err = hypervisorfake.New(a.Machines).Ensure(t.Context(), hypervisor.Machine{
		ID: id, VCPU: 2, RAMGiB: 4, Disks: []hypervisor.Disk{{Path: disk, Format: hypervisor.QCOW2}},
		NIC: hypervisor.NIC{MAC: l.MAC, Kind: hypervisor.PlugKind(plug.Kind), File: plug.File},
	})
	if err != nil {
		t.Fatal(err)
	}
	return disk
}
