# Makes the folders that become the root file system and the initrd. Sourced by build.sh.
# shellcheck shell=sh
# shellcheck disable=SC2154 # variables of build.sh

# add_busybox TREE puts in busybox with a link for each of its commands.
add_busybox() {
	mkdir -p "$1/bin"
	cp "$work/packed/bin/busybox" "$1/bin/busybox"
	for command in $("$1/bin/busybox" --list); do
		[ "$command" = busybox ] || ln -s busybox "$1/bin/$command"
	done
}

# add_program TREE PATH puts in a program and the libraries it is linked with, all from the unpacked packages.
add_program() {
	libraries=$work/packed/lib/x86_64-linux-gnu
	loader=$work/packed/lib64/ld-linux-x86-64.so.2
	mkdir -p "$1$(dirname "$2")" "$1/lib" "$1/lib64"
	cp "$work/packed$2" "$1$2"
	cp -L "$loader" "$1/lib64/"
	"$loader" --library-path "$libraries" --list "$work/packed$2" | sed -n 's/.* => \([^ ]*\) .*/\1/p' | while read -r library; do
		case $library in
		"$work"/*) cp -L "$library" "$1/lib/" ;;
		*) die "$2 needs $library, which is not in the chosen packages" ;;
		esac
	done
}

# add_modules TREE WHEN puts in the modules listed for WHEN with all they depend on, and prints their names.
add_modules() {
	version=$(ls "$work/packed/lib/modules")
	all=$work/packed/lib/modules/$version
	mkdir -p "$1/lib/modules/$version"
	: >"$work/files"
	listed modules | awk -v when="$2" '$1 == when { print $2 }' | while read -r name; do
		# A module's file may be spelt with either.
		pattern=$(echo "$name" | sed 's/[-_]/[-_]/g')
		if grep "/$pattern\.ko[^ ]*:" "$all/modules.dep" | tr -d ':' | tr -s ' ' '\n' | grep . >>"$work/files"; then
			echo "$name"
		else
			grep -q "/$pattern\.ko$" "$all/modules.builtin" || die "the kernel $version has no module $name"
		fi
	done
	sort -u "$work/files" | while read -r file; do
		add_module "$all/$file" "$1/lib/modules/$version"
	done
	cp "$all"/modules.builtin* "$all/modules.order" "$1/lib/modules/$version/"
	depmod -b "$1" "$version"
}

# add_module FILE FOLDER puts in one module, uncompressed: busybox cannot read what Ubuntu and Debian 13 compress them with.
add_module() {
	name=$(basename "$1")
	case $name in
	*.zst) zstd -q -d -c "$1" >"$2/${name%.zst}" ;;
	*.xz) xz -d -c "$1" >"$2/${name%.xz}" ;;
	*) cp "$1" "$2/$name" ;;
	esac
}

# make_root TREE makes the root file system.
make_root() {
	cp -R "$here/rootfs" "$1"
	mkdir -p "$1/proc" "$1/sys" "$1/dev" "$1/run" "$1/tmp" "$1/sbin" "$1/root/.ssh" "$1/etc/dropbear" "$1/var/lib/cpucloud" "$1/var/log"
	chmod 700 "$1/root" "$1/root/.ssh"
	chmod 600 "$1/etc/shadow"
	add_busybox "$1"
	ln -s ../bin/busybox "$1/sbin/init"
	# Where the kernel looks when something needs a module.
	ln -s ../bin/busybox "$1/sbin/modprobe"
	for program in /usr/sbin/dropbear /usr/bin/dropbearkey /sbin/resize2fs /usr/sbin/qemu-ga; do add_program "$1" "$program"; done
	add_modules "$1" root >"$1/etc/modules"
	add_modules "$1" asked >/dev/null
	settle "$1"
}

# make_boot_folder FOLDER makes what the boot partition holds: the boot loader's configuration, the kernel and the initrd.
make_boot_folder() {
	mkdir "$1"
	cp "$here/boot/syslinux.cfg" "$1/syslinux.cfg"
	cp "$work"/packed/boot/vmlinuz-* "$1/vmlinuz"
	make_initrd "$1/initrd"
	settle "$1"
}

# make_initrd FILE makes the initrd: busybox with the modules that read the disk.
make_initrd() {
	tree=$work/initrd
	mkdir -p "$tree/dev" "$tree/etc" "$tree/proc" "$tree/sys" "$tree/newroot"
	add_busybox "$tree"
	add_modules "$tree" initrd >"$tree/etc/modules"
	cp "$here/boot/init" "$tree/init"
	settle "$tree"
	# Not compressed: reading is quicker than unpacking where the processor is emulated.
	(cd "$tree" && find . | sort | cpio --quiet --reproducible -o -H newc -R 0:0) >"$1"
}

# make_root_file_system FILE TREE makes a file system of one block group, the measure for all it grows by: 128 MiB.
make_root_file_system() {
	uuid=43505543-4c4f-5544-8000-44454d4f0001
	truncate -s 128M "$1"
	E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH fakeroot -- sh -euc '
		chown -R 0:0 "$2"
		mke2fs -q -t ext4 -b 4096 -i 32768 -L cpucloud-demo -U "$3" -E "hash_seed=$3,root_owner=0:0" -J size=4 -m 1 -d "$2" "$1"
	' sh "$1" "$2" $uuid
	# When its inodes were changed and read is still this machine's story, and nothing but debugfs can set that.
	(cd "$2" && find . -printf "set_inode_field \"/%P\" ctime @$SOURCE_DATE_EPOCH\nset_inode_field \"/%P\" atime @$SOURCE_DATE_EPOCH\n") >"$work/times"
	E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH debugfs -w -f "$work/times" "$1" >/dev/null 2>&1
}

# settle TREE gives all files modes and times that do not depend on who builds, and when.
settle() {
	chmod -R go-w,a+rX "$1"
	if [ -d "$1/root" ]; then
		chmod 700 "$1/root" "$1/root/.ssh"
		chmod 600 "$1/etc/shadow"
		chmod 1777 "$1/tmp"
	fi
	find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}
