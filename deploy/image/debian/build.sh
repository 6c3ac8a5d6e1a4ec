#!/bin/sh
# build.sh OUTDIR builds OUTDIR/debian-12-cloudinit.qcow2: Debian 12 as it is installed anywhere, with the real cloud-init and
# OpenSSH. The tests of whole machines start it, to see that what works with the demo image works with a customer's own.
#
# It needs the packages listed beside it and Debian's mirrors, but neither a loop device nor a mount.
set -eu
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
. "$here/../disk.sh"

root_size=1536 # MiB; what is installed takes two thirds, and a machine's own disk is larger

say() {
	echo "debian image: $*"
}

die() {
	echo "debian image: $*" >&2
	exit 1
}

# listed FILE prints the lines of a list in this folder without their comments.
listed() {
	sed 's/[[:space:]]*#.*//; /^$/d' "$here/$1"
}

require_tools() {
	for tool in fakeroot mcopy mke2fs mkfs.fat mmdebstrap qemu-img sfdisk syslinux; do
		command -v "$tool" >/dev/null || die "$tool is missing; install what this needs with: apt-get install $(listed packages | tr '\n' ' ')"
	done
}

# install_debian TAR installs Debian into an archive. What would make two machines one is left out: keys, names, machine-id.
install_debian() {
	mmdebstrap --quiet --variant=minbase --include="$(listed include | paste -s -d ,)" \
		--keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
		--aptopt='Apt::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--customize-hook="copy-in '$here/rootfs/etc' /" \
		--customize-hook='chroot "$1" update-initramfs -u' \
		--customize-hook='chroot "$1" systemctl enable --quiet systemd-networkd systemd-resolved ssh serial-getty@ttyS0' \
		--customize-hook='ln -sf ../run/systemd/resolve/stub-resolv.conf "$1/etc/resolv.conf"' \
		--customize-hook='rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/hostname"' \
		--customize-hook=': >"$1/etc/machine-id"' \
		bookworm "$1"
}

# make_root TAR FILE BOOT makes the root file system of an archive, and copies what the boot loader loads into the folder BOOT.
make_root() {
	truncate -s "${root_size}M" "$2"
	fakeroot -- sh -euc '
		mkdir "$1.d"
		tar -x -C "$1.d" -f "$1" --exclude="./dev/*"
		cp "$1.d"/boot/vmlinuz-* "$3/vmlinuz"
		cp "$1.d"/boot/initrd.img-* "$3/initrd"
		mke2fs -q -t ext4 -L root -d "$1.d" "$2"
	' sh "$1" "$2" "$3"
}

up_to_date() {
	[ -f "$image" ] && [ -z "$(find "$here" "$here/../disk.sh" -type f -newer "$image")" ]
}

[ $# = 1 ] || die 'usage: build.sh OUTDIR'
mkdir -p "$1"
image=$(cd "$1" && pwd)/debian-12-cloudinit.qcow2
if up_to_date; then
	say "$image is up to date"
	exit 0
fi
require_tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

say 'installing Debian 12, which takes some minutes'
install_debian "$work/debian.tar"
say 'writing the disk'
mkdir "$work/boot"
cp "$here/syslinux.cfg" "$work/boot/"
make_root "$work/debian.tar" "$work/root.ext4" "$work/boot"
make_disk "$work/disk.raw" "$work/boot" "$work/root.ext4"
qemu-img convert -f raw -O qcow2 "$work/disk.raw" "$work/disk.qcow2"
mv "$work/disk.qcow2" "$image"
say "$image, $(du -h "$image" | cut -f 1)"
