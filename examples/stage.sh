# What the examples have in common: a cloud of their own that ends with them, and
# steps that are told as they are taken. To be sourced from the top of the project
# with bash, under set -euo pipefail.
# shellcheck shell=bash

data=$(mktemp -d "${TMPDIR:-/tmp}/cpucloud-demo.XXXXXX")
log=$data/up.log
cloud=''

finish() {
	code=$?
	trap - EXIT
	set +e
	if [ -n "$cloud" ]; then
		bin/cpucloud down --data "$data/cloud" >>"$log" 2>&1
		wait "$cloud" 2>/dev/null
	fi
	if [ "$code" -ne 0 ]; then
		printf '\nIt ended with an error. The last lines of the cloud said:\n'
		tail -n 20 "$log"
	fi
	if [ -n "${KEEP:-}" ]; then echo "kept: $data"; else rm -rf "$data"; fi
	exit "$code"
}
trap finish EXIT

begin=$EPOCHREALTIME
seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# step TITLE COMMAND… runs a command, shows what it said and how long it took.
step() {
	local title=$1 start=$EPOCHREALTIME
	shift
	printf '\n\033[1m▸ %s\033[0m\n' "$title"
	"$@" | sed 's/^/  /'
	printf '  \033[2m(%s s)\033[0m\n' "$(seconds_since "$start")"
}

# start_cloud [FLAG…] starts a cloud on this machine and reads how to reach it.
start_cloud() {
	bin/cpucloud up --data "$data/cloud" --listen 127.0.0.1:0 --images build/images --pool "127.77.$((RANDOM % 250 + 1)).0/24" "$@" >"$log" 2>&1 &
	cloud=$!
	for _ in $(seq 300); do
		if grep -q 'Your cloud is up' "$log"; then
			# shellcheck disable=SC1091
			. "$data/cloud/demo.env"
			return 0
		fi
		kill -0 "$cloud" 2>/dev/null || { cat "$log"; return 1; }
		sleep 0.1
	done
	echo 'it did not come up within 30 s'
	return 1
}

say_started() { grep -E '^(VMs run|This machine|Your cloud)' "$log"; }

inside() { bin/cpucloud vm ssh "$vm" --identity "$data/id" -- "$@"; }

balance() { bin/cpucloud account; }
