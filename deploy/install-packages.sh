#!/bin/sh
# Installs the Debian packages of the lists given, those that are missing.
#
#   deploy/install-packages.sh LIST...
#
# A list has one package a line, then # and why it is needed.
set -eu

missing=''
for list in "$@"; do
	while read -r name why; do
		case "$name" in '' | '#'*) continue ;; esac
		case "$missing " in *" $name "*) continue ;; esac
		if ! dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null | grep -q '^i'; then
			[ -n "$missing" ] || echo 'These packages are missing and will be installed:'
			printf '  %-22s %s\n' "$name" "${why#\# }"
			missing="$missing $name"
		fi
	done <"$list"
done
# The image is made of packages that are fetched, not installed: apt has to know where they are.
unknown=''
if command -v apt-cache >/dev/null && ! apt-cache show busybox-static >/dev/null 2>&1; then
	unknown=1
fi
[ -n "$missing$unknown" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "error: this is neither Debian nor Ubuntu; install by hand:$missing" >&2
	exit 1
fi
as_root=''
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "error: run as root: apt-get install$missing" >&2
		exit 1
	fi
	echo 'sudo will ask for your password to install them.'
	as_root=sudo
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install_all() {
	# shellcheck disable=SC2086 # a list of words on purpose
	DEBIAN_FRONTEND=noninteractive $as_root apt-get install -qy --no-install-recommends $missing >"$log" 2>&1
}
refresh() {
	echo 'refreshing the package lists …'
	$as_root apt-get update -q >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
}
[ -z "$unknown" ] || refresh
[ -n "$missing" ] || exit 0
if ! install_all; then
	refresh
	install_all || { cat "$log" >&2; exit 1; }
fi
echo "installed:$missing"
