#!/bin/sh
# Lets this user's VMs answer on port 22 of their own addresses: without root, Linux keeps ports below
# net.ipv4.ip_unprivileged_port_start to itself. Holds until the next start of the machine.
set -eu
[ "$(id -u)" -ne 0 ] || exit 0
[ "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" -gt 22 ] || exit 0
echo 'VMs answer on port 22 of their own addresses, which only root may open so far. To allow it until the next restart:'
echo '  sudo sysctl -w net.ipv4.ip_unprivileged_port_start=22'
if ! command -v sudo >/dev/null; then
	echo 'error: run that as root (there is no sudo here)' >&2
	exit 1
fi
sudo sysctl -qw net.ipv4.ip_unprivileged_port_start=22
