# Run twice: outside, to enter groups and make namespaces; and inside these, to
# make a small world and become systemd.
#
#   outside|inside HIERARCHY WRITABLE GROUP...
set -eu
hierarchy=$1 writable=$2
shift 2

if [ "$0" = outside ]; then
	for group; do echo $$ >"$group/cgroup.procs"; done
	exec unshare --fork --kill-child --mount --pid --uts --ipc --net --cgroup \
		/bin/sh -c "$SCRIPT" inside "$hierarchy" "$writable"
fi

mount --make-rprivate /
mount --bind "$writable" "$writable"
mounted=$(sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - \(cgroup2*\) [^ ]* \(.*\)$/\2 \1 \3/p' /proc/self/mountinfo)
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
umount --lazy --recursive /sys/fs/cgroup

cmdline=''
if [ "$hierarchy" = legacy ] && echo "$mounted" | grep -q '^cgroup '; then
	mounted=$(echo "$mounted" | grep '^cgroup ')
	cmdline='systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1'
fi
if [ "$hierarchy" = unified ]; then
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
	mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
	echo "$mounted" | while read -r kind place options; do
		mkdir -p "$place"
		case $kind,$options in
		cgroup2,*) mount -t cgroup2 cgroup2 "$place" ;;
		*,name=* | *,*,name=*) mount -t cgroup -o "none,name=${options##*name=}" cgroup "$place" ;;
		*) mount -t cgroup -o "${options#rw,}" cgroup "$place" ;;
		esac
	done
fi
mount -o remount,bind,ro /

mkdir /run/units
for target in world sysinit basic shutdown; do # all that a unit of one's own depends on
	printf '[Unit]\nDefaultDependencies=no\n' >/run/units/$target.target
done
exec env -i PATH="$PATH" container=test SYSTEMD_UNIT_PATH=/run/units SYSTEMD_GENERATOR_PATH=/nonexistent \
	SYSTEMD_PROC_CMDLINE="$cmdline" \
	/lib/systemd/systemd --system --unit=world.target --log-target=console --log-level=notice
