package discover

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/jaypipes/ghw/pkg/block"
	"github.com/shirou/gopsutil/v4/cpu"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

// maxListed is how many disks and addresses are told of a machine.
const maxListed = 64

// topology counts sockets and physical cores. A machine that does not say
// which core is on which socket, as many virtual ones, has 0 of both.
func topology(infos []cpu.InfoStat) (sockets, cores int64) {
	onSocket, onCore := map[string]bool{}, map[[2]string]bool{}
	for _, i := range infos {
		if i.PhysicalID == "" || i.CoreID == "" {
			return 0, 0
		}
		onSocket[i.PhysicalID] = true
		onCore[[2]string{i.PhysicalID, i.CoreID}] = true
	}
	return int64(len(onSocket)), int64(len(onCore))
}

// disks describes the disks that are built in, the largest first.
func disks(all []*block.Disk) []capacity.Disk {
	var found []capacity.Disk
	for _, d := range all {
		if !builtIn(d) {
			continue
		}
		kind := diskType(d)
		if d.StorageController == block.StorageControllerVirtIO {
			kind = "" // what the host has behind it can't be seen
		}
		found = append(found, capacity.Disk{Name: clean(d.Name), Type: kind, SizeGiB: int64(d.SizeBytes >> 30), Model: model(d)})
	}
	slices.SortFunc(found, func(a, b capacity.Disk) int {
		return cmp.Or(cmp.Compare(b.SizeGiB, a.SizeGiB), cmp.Compare(a.Name, b.Name))
	})
	return found[:min(len(found), maxListed)]
}

// builtIn leaves out what is no disk of the machine: sticks, optical drives,
// loops, and devices that are made of disks.
func builtIn(d *block.Disk) bool {
	if d.StorageController == block.StorageControllerUnknown || d.StorageController == block.StorageControllerLoop {
		return false
	}
	return d.SizeBytes > 0 && !d.IsRemovable && d.DriveType != block.DriveTypeODD
}

func model(d *block.Disk) string {
	if d.Model == "unknown" {
		return ""
	}
	return clean(strings.ReplaceAll(d.Model, "_", " "))
}

// clean makes a text of the firmware fit to be shown.
func clean(s string) string {
	const most = 100
	s = strings.Join(strings.FieldsFunc(s, func(c rune) bool { return !unicode.IsGraphic(c) || unicode.IsSpace(c) }), " ")
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

// addresses returns the host's addresses that mean something beyond it, those
// that the world can reach first.
func addresses(ask func() ([]net.Addr, error)) []string {
	if ask == nil {
		ask = net.InterfaceAddrs
	}
	given, err := ask()
	if err != nil {
		return nil
	}
	var found []netip.Addr
	for _, a := range given {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().IsGlobalUnicast() {
			found = append(found, p.Addr().Unmap())
		}
	}
	slices.SortFunc(found, func(a, b netip.Addr) int {
		if a.IsPrivate() != b.IsPrivate() {
			if b.IsPrivate() {
				return -1
			}
			return 1
		}
		return a.Compare(b)
	})
	var texts []string
	for _, a := range slices.Compact(found) {
		texts = append(texts, a.String())
	}
	return texts[:min(len(texts), maxListed)]
}
