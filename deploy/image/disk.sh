# Makes a disk that a BIOS starts: a FAT partition the boot loader reads, and last the root file system, so that it can grow to
# the size of the disk that is bought. Sourced by the build scripts; needs neither root nor a loop device.
# shellcheck shell=sh

# make_disk DISK BOOT ROOT writes the disk image DISK, a raw file, with the files of the folder BOOT (at least a kernel and
# syslinux.cfg) in the boot partition and a copy of the file system image ROOT in the second one.
make_disk() {
	start=1 # MiB; the boot loader's first sectors lie before it
	# Room for what FAT and the boot loader add, and never less than what makes mkfs.fat choose FAT16.
	boot_size=$(($(du -sm "$2" | cut -f 1) + 16))
	root_size=$(($(stat -c %s "$3") / 1048576))

	truncate -s 0 "$1"
	truncate -s "$((start + boot_size + root_size))M" "$1"
	sfdisk -q "$1" <<EOF
label: dos
label-id: 0x43505543
start=${start}MiB, size=${boot_size}MiB, type=e, bootable
start=$((start + boot_size))MiB, size=${root_size}MiB, type=83
EOF
	make_boot "$1.boot" "$2" "$boot_size"
	dd if="$1.boot" of="$1" bs=1M seek=$start conv=notrunc,sparse status=none
	dd if="$3" of="$1" bs=1M seek=$((start + boot_size)) conv=notrunc,sparse status=none
	dd if=/usr/lib/syslinux/mbr/mbr.bin of="$1" bs=440 count=1 conv=notrunc status=none
	rm "$1.boot"
}

# make_boot FILE FOLDER SIZE makes a FAT file system of SIZE MiB with the files of a folder and the boot loader.
make_boot() {
	truncate -s "$3M" "$1"
	mkfs.fat -F 16 -n BOOT --invariant "$1" >/dev/null
	mcopy -m -i "$1" "$2"/* ::
	syslinux --install "$1"
}
