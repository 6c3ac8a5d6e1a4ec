#!/usr/bin/env bash
# Deploys a real VM on a cloud of its own and takes it down again, as a customer
# would by hand. Ends with an error at the first step that does not do what it says.
#
#   examples/demo.sh            # after make build image; `make demo` does both
#   KEEP=1 examples/demo.sh     # keep the data folder, for a look at the logs
set -euo pipefail
cd "$(dirname "$0")/.."

. examples/stage.sh
vm=demo-vm

api_is_ready() { curl -fsS "$CPUCLOUD_URL/healthz" && echo; }

look_inside() { inside 'echo "\$ uname -a"; uname -a; echo "\$ hostname"; hostname; echo "\$ nproc"; nproc; echo "\$ df -h /"; df -h /'; }

address() { bin/cpucloud vm show "$vm" -o yaml | sed -n 's/^publicIp: *"\{0,1\}\([0-9.]*\).*/\1/p'; }

open_port() { bin/cpucloud vm update "$vm" --add-port 8080 -o yaml | sed -n '/^ports:/,/^[a-oq-z]/p' | sed '$d'; }

refuses() {
	if curl -sS -m 5 -o /dev/null "$1" 2>"$data/curl"; then
		echo "$1 answers although its port is closed"
		return 1
	fi
	echo "$1: refused, as it should be while the port is closed"
}

fetch_page() {
	for _ in $(seq 50); do
		if curl -fsS -m 5 "$1" >"$data/page" 2>/dev/null; then
			sed -n '/<h1>/,$ { s/<d[dt]>/ /g; s/<[^>]*>//g; /[^[:space:]]/p }' "$data/page"
			grep -q "$vm" "$data/page" || { echo "the page does not name $vm"; return 1; }
			return 0
		fi
		sleep 0.1
	done
	echo "$1 does not answer"
	return 1
}

printf '\n\033[1m▸ Start a cloud on this machine\033[0m\n'
start=$EPOCHREALTIME
start_cloud
say_started | sed 's/^/  /'
printf '  \033[2m(%s s)\033[0m\n' "$(seconds_since "$start")"

step 'Is it healthy?' api_is_ready
step 'What is for sale' bin/cpucloud offers
step 'What a VM would cost' bin/cpucloud estimate
step 'The balance before' balance
step 'Make an SSH key for this run' ssh-keygen -q -t ed25519 -N '' -C demo -f "$data/id"
step 'Deploy a VM and follow it' bin/cpucloud vm create "$vm" --image cpucloud-demo --ssh-key "$data/id.pub" --wait
step 'Log in by SSH' look_inside
page="http://$(address):8080/"
step 'Port 8080 is closed' refuses "$page"
step 'Open port 8080' open_port
step 'Fetch the page that the VM serves' fetch_page "$page"
step 'What happened, as the VM tells it' bin/cpucloud vm show "$vm"
step 'The balance while it runs: two epochs reserved, one of them charged' balance
step 'Delete the VM' bin/cpucloud vm delete "$vm" --yes
step 'The balance after: the unused epoch is back' balance
printf '\n\033[1mAll of it worked, in %s s.\033[0m\n' "$(seconds_since "$begin")"
