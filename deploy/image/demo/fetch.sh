# Chooses and fetches the packages of the image. Sourced by build.sh.
# shellcheck shell=sh
# shellcheck disable=SC2154 # variables of build.sh

# kernel_package prints the package with the kernel that suits virtual machines: Debian's, else Ubuntu's.
kernel_package() {
	for meta in linux-image-cloud-amd64 linux-image-virtual; do
		package=$(apt-cache depends --important "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
		if [ -n "$package" ]; then
			echo "$package"
			return
		fi
	done
	die 'apt knows no kernel package; run: apt-get update'
}

# names prints the packages of the image: the kernel, and the programs with all they need. The kernel's own dependencies are
# left out: they install kernels.
names() {
	kernel=$(kernel_package)
	echo "$kernel"
	# Ubuntu keeps the modules in a package of their own.
	modules=linux-modules-${kernel#linux-image-}
	if apt-cache show "$modules" >/dev/null 2>&1; then echo "$modules"; fi
	apt-cache depends --recurse --important busybox-static dropbear-bin e2fsprogs >"$work/depends"
	# What it needs to be installed, which it is not, includes Perl.
	apt-cache depends --recurse --important --no-pre-depends qemu-guest-agent >>"$work/depends"
	sed -n 's/^\([a-z0-9][^:]*\).*/\1/p' "$work/depends"
}

# choose_packages prints "file address checksum" for each package of the image, from what apt knows: without the network.
choose_packages() {
	names >"$work/names"
	sort -u -o "$work/names" "$work/names"
	# Elsewhere apt-get would leave out what lies in the current folder already.
	(cd "$work" && xargs apt-get download --print-uris <names >uris)
	[ "$(wc -l <"$work/uris")" = "$(wc -l <"$work/names")" ] || die 'apt does not know where all packages are; run: apt-get update'
	sed "s/^'\([^']*\)' \([^ ]*\) .* \([^ ]*\)$/\2 \1 \3/" "$work/uris"
}

# fetch_packages brings every package into the cache. apt-get checks what it fetches against the signed lists.
fetch_packages() {
	while read -r file _; do
		[ -f "$cache/$file" ] || echo "${file%%_*}"
	done <"$work/packages" >"$work/missing"
	[ -s "$work/missing" ] || return 0
	say "fetching $(wc -l <"$work/missing") packages"
	mkdir "$work/fetched"
	# Root's apt would fetch as another user, who cannot write here.
	(cd "$work/fetched" && xargs apt-get download -q -o APT::Sandbox::User=root <"$work/missing") ||
		die 'a package cannot be fetched; the package lists may be old: run apt-get update and try again'
	mv "$work"/fetched/*.deb "$cache/"
}

# unpack_packages unpacks them all into one tree, where /bin and its like are links into /usr: some packages still name the one,
# some already the other.
unpack_packages() {
	for folder in bin sbin lib lib64; do
		mkdir -p "$work/packed/usr/$folder"
		ln -s "usr/$folder" "$work/packed/$folder"
	done
	while read -r file _; do
		# By way of a file, as a pipe would hide that a package is damaged.
		dpkg-deb --fsys-tarfile "$cache/$file" >"$work/tar"
		tar -x --keep-directory-symlink -C "$work/packed" -f "$work/tar"
	done <"$work/packages"
	depmod -b "$work/packed" "$(ls "$work/packed/lib/modules")"
}
