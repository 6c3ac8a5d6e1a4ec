#!/bin/sh
# build.sh OUTDIR builds the demo image, a small Linux that boots in seconds and that a NoCloud seed makes one's own:
#
#   OUTDIR/cpucloud-demo.qcow2         the disk image
#   OUTDIR/cpucloud-demo.qcow2.sha256  its checksum, as sha256sum -c reads it
#
# Everything in it comes from packages of the Debian or Ubuntu release this machine runs. They are kept in OUTDIR/../cache.
# It needs neither root nor a loop device. It does nothing when the image was made from the same packages and sources.
set -eu
# The same names in the same order on every machine; mke2fs and others of /sbin are not on everyone's PATH.
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
. "$here/fetch.sh"
. "$here/tree.sh"
. "$here/../disk.sh"

say() {
	echo "demo image: $*"
}

die() {
	echo "demo image: $*" >&2
	exit 1
}

# listed FILE prints the lines of a list in this folder without their comments.
listed() {
	sed 's/[[:space:]]*#.*//; /^$/d' "$here/$1"
}

require_tools() {
	[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || die 'builds on Debian or Ubuntu for amd64 only'
	for tool in apt-get cpio depmod fakeroot mcopy mke2fs mkfs.fat qemu-img sfdisk syslinux xz zstd; do
		command -v "$tool" >/dev/null || die "$tool is missing; install what this needs with: apt-get install $(listed packages | tr '\n' ' ')"
	done
}

# fingerprint prints one checksum of all that goes into the image: these sources, and the packages with their versions.
fingerprint() {
	{
		(cd "$here/.." && find demo disk.sh -type f -print0 | sort -z | xargs -0 sha256sum)
		cat "$work/packages"
	} | sha256sum | cut -d ' ' -f 1
}

up_to_date() {
	[ -f "$image" ] && [ "$(cat "$image.inputs" 2>/dev/null)" = "$1" ] && (cd "$out" && sha256sum --quiet -c "$image.sha256") 2>/dev/null
}

[ $# = 1 ] || die 'usage: build.sh OUTDIR'
require_tools
mkdir -p "$1"
out=$(cd "$1" && pwd)
image=$out/cpucloud-demo.qcow2
cache=$(dirname "$out")/cache/deb
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

choose_packages >"$work/packages"
inputs=$(fingerprint)
if up_to_date "$inputs"; then
	say "$image is up to date"
	exit 0
fi

mkdir -p "$cache"
fetch_packages

# Time stamps inside come from the sources' release, so that the same inputs give the same image.
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-1735689600}"
say 'making the root file system and the initrd'
unpack_packages
make_root "$work/root"
make_boot_folder "$work/boot"

say 'writing the disk'
make_root_file_system "$work/root.ext4" "$work/root"
make_disk "$work/disk.raw" "$work/boot" "$work/root.ext4"
qemu-img convert -f raw -O qcow2 "$work/disk.raw" "$work/disk.qcow2"
mv "$work/disk.qcow2" "$image"
(cd "$out" && sha256sum "$(basename "$image")" >"$image.sha256")
echo "$inputs" >"$image.inputs"
say "$image, $(du -h "$image" | cut -f 1)"
