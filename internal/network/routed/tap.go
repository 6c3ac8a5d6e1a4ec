package routed

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
)

const (
	maxIfName  = unix.IFNAMSIZ - 1
	tapPrefix  = "cpuc-" // no other interface may have such a name: our rules drop what it sends
	aliasStart = "cpucloud VM "
	tun        = "/dev/net/tun"
)

// tapMAC is the gateway's on every tap, so that a VM finds the same one after
// its host was rebooted. Locally administered; the rest spells "cpu" twice over.
var tapMAC = net.HardwareAddr{0x02, 'c', 'p', 'u', 'c', 'p'}

// tapName returns the name of a VM's tap, which depends on nothing but its id:
// 50 bits of its hash.
func tapName(id string) string {
	sum := sha256.Sum256([]byte(id))
	text := base32.StdEncoding.EncodeToString(sum[:])
	return tapPrefix + strings.ToLower(text[:maxIfName-len(tapPrefix)])
}

// openTap opens the VM's end of a tap, making it if there is none.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open(tun, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fault.Newf(fault.Unavailable, "%s can't be opened (%v): the agent needs the module tun, and has to run as root", tun, err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	if errors.Is(err, unix.EBUSY) {
		err = fault.Newf(fault.Unavailable, "the tap %s is in use: the machine that has it must end first", name)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open tap %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// makeTap makes a tap that stays, that only root can open, and that is down.
func makeTap(id string) error {
	f, err := openTap(tapName(id))
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // the tap stays
	fd := int(f.Fd())
	// Without an owner any user could take the VM's place.
	if err := unix.IoctlSetInt(fd, unix.TUNSETOWNER, 0); err != nil {
		return fmt.Errorf("own tap: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("keep tap: %w", err)
	}
	link, err := netlink.LinkByName(tapName(id))
	if err != nil {
		return err
	}
	if err := netlink.LinkSetAlias(link, aliasStart+id); err != nil {
		return fmt.Errorf("name tap: %w", err)
	}
	if err := netlink.LinkSetHardwareAddr(link, tapMAC); err != nil {
		return fmt.Errorf("set MAC of tap: %w", err)
	}
	return nil
}

// taps returns the taps of VMs by their ids. An interface is ours by its name
// and its alias together.
func taps() (map[string]netlink.Link, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	found := map[string]netlink.Link{}
	for _, l := range all {
		if id, ok := strings.CutPrefix(l.Attrs().Alias, aliasStart); ok && l.Attrs().Name == tapName(id) {
			found[id] = l
		}
	}
	return found, nil
}

// isUp reports whether a tap carries frames once a VM is plugged in.
func isUp(l netlink.Link) bool { return l.Attrs().Flags&net.FlagUp != 0 }
