#!/usr/bin/env bash
# A VM whose customer runs out of money, in real time: epochs are charged one
# after the other, the VM runs on what is paid, is powered off with its disk kept,
# and comes back with its files once there is money again.
#
#   examples/out-of-funds.sh             # after make build image; about five minutes
#   EPOCH=20s examples/out-of-funds.sh   # shorter epochs
set -euo pipefail
cd "$(dirname "$0")/.."

. examples/stage.sh
vm=shop
epoch=${EPOCH:-60s}

# value NAME reads one line of YAML.
value() { sed -n "s/^$1: *\"\{0,1\}\([^\"]*\)\"\{0,1\}$/\1/p"; }

account=''
set_balance() {
	local price
	price=$(bin/cpucloud estimate -o yaml | value totalPricePerEpoch)
	account=$(bin/cpucloud account -o yaml | value id)
	bin/cpucloud admin balance set "$account" "$(awk -v p="$price" 'BEGIN { printf "%.6f", 3 * p }')" --note 'three epochs' --data "$data/cloud"
}

write_file() { inside 'echo "twelve orders, none lost" > /root/orders; sync; cat /root/orders; cat /proc/sys/kernel/random/boot_id > /root/boot; sync'; }

wait_for() { bin/cpucloud vm wait "$vm" --status "$1" --timeout 10m >/dev/null && bin/cpucloud vm list; }

unreachable() {
	local address
	address=$(bin/cpucloud vm show "$vm" -o yaml | value publicIp)
	if [ "$address" != null ] && [ -n "$address" ]; then
		echo "it still shows its address, $address"
		return 1
	fi
	for _ in $(seq 300); do
		pgrep -f "qemu-system.*$data" >/dev/null || { echo "no QEMU runs; its disk is kept:"; find "$data/cloud" -name 'disk*' -size +100k -printf '%f, %k KiB on the host\n'; return 0; }
		sleep 0.2
	done
	echo 'QEMU still runs'
	return 1
}

pay() { bin/cpucloud admin balance credit "$account" 10 --note "to go on" --data "$data/cloud"; }

read_file() { inside 'cat /root/orders; cmp -s /root/boot /proc/sys/kernel/random/boot_id && echo "the same boot as before" || echo "a new boot, the old disk"'; }

printf '\n\033[1m▸ Start a cloud whose epoch is %s\033[0m\n' "$epoch"
start_cloud --epoch "$epoch" --retention 30m
say_started | sed 's/^/  /'
set_balance # in this shell, for the account
step 'Three epochs of rent are in the account' balance
step 'Make an SSH key for this run' ssh-keygen -q -t ed25519 -N '' -C example -f "$data/id"
step 'Deploy a VM: two epochs are reserved, one is charged when it is Active' bin/cpucloud vm create "$vm" --image cpucloud-demo --ssh-key "$data/id.pub" --wait
step 'Write a file' write_file
step 'Two epochs later: the last that is paid for has begun' wait_for SmallBalance
step 'What its customer is told' bin/cpucloud vm show "$vm"
step 'At its end the VM is powered off' wait_for InsufficientFunds
step 'Nothing answers, nothing is lost' unreachable
step 'Pay 10 USDC' pay
step 'It starts again by itself' wait_for Active
step 'The file is there' read_file
step 'What happened, as the VM tells it' bin/cpucloud vm show "$vm"
step 'Delete the VM' bin/cpucloud vm delete "$vm" --yes
step 'What is left' balance
printf '\n\033[1mAll of it worked, in %s s.\033[0m\n' "$(seconds_since "$begin")"
