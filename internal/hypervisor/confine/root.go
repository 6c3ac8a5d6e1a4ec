package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// changeRoot gives this process a file system of its own: a small one in memory
// that can't be written to, with what it is shown. The mounts are in its own
// namespace, so that they end with it and nobody else ever sees them.
func (s Spec) changeRoot() error {
	// What is made here is for the program's user, whom the agent's own mask keeps out.
	defer unix.Umask(unix.Umask(0))
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to itself: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NOEXEC
	if err := unix.Mount("root", s.Root, "tmpfs", flags, "size=64k,nr_inodes=256,mode=755"); err != nil {
		return fmt.Errorf("mount a root: %w", err)
	}
	for _, path := range s.Show {
		if err := s.show(path); err != nil {
			return fmt.Errorf("show %s: %w", path, err)
		}
	}
	for _, path := range s.Devices {
		if err := s.device(path); err != nil {
			return fmt.Errorf("make device %s: %w", path, err)
		}
	}
	if err := unix.Mount("", s.Root, "", unix.MS_REMOUNT|unix.MS_RDONLY|flags, ""); err != nil {
		return fmt.Errorf("make the root read only: %w", err)
	}
	// The old root is stacked below the new one and taken away from there, see
	// pivot_root(2).
	if err := unix.Chdir(s.Root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return unix.Chdir("/")
}

// show puts path of the host into the new root.
func (s Spec) show(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	place := filepath.Join(s.Root, path)
	if _, err := os.Lstat(place); err == nil {
		return nil // it lies in what is shown already
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil { //nolint:gosec // for the user that this is done for
		return err
	}
	switch {
	case info.Mode().Type() == fs.ModeSymlink:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		return os.Symlink(target, place)
	case info.IsDir():
		err = os.Mkdir(place, 0o755) //nolint:gosec // see above
	default:
		err = os.WriteFile(place, nil, 0o400)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(path, place, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount("", place, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

// device makes a node like the one at path that belongs to the program's user.
// Who may open the host's own is not touched.
func (s Spec) device(path string) error {
	var like unix.Stat_t
	if err := unix.Stat(path, &like); err != nil {
		return err
	}
	place := filepath.Join(s.Root, path)
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil { //nolint:gosec // for the user that this is done for
		return err
	}
	if err := unix.Mknod(place, like.Mode&unix.S_IFMT|0o600, int(like.Rdev)); err != nil { //nolint:gosec // mknod takes what stat gives
		return err
	}
	return os.Chown(place, int(s.User), int(s.User))
}
