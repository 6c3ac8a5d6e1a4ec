#!/bin/sh
# The page on port 8080. It shows nothing of the request, so there is nothing to escape.
read -r seconds _ </proc/uptime
cat <<EOF
Content-Type: text/html; charset=utf-8
Cache-Control: no-store

<!doctype html>
<html lang="en">
<meta name="viewport" content="width=device-width">
<title>$(hostname) · CPU Cloud</title>
<style>
  body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }
  dt { color: #667; float: left; width: 7rem }
  dd { margin: 0 0 0 7rem }
</style>
<h1>$(hostname)</h1>
<p>A virtual machine on CPU Cloud.
<dl>
  <dt>Kernel<dd>$(uname -sr)
  <dt>CPUs<dd>$(nproc)
  <dt>Memory<dd>$(awk '/^MemTotal/ { printf "%d MiB", $2 / 1024 }' /proc/meminfo)
  <dt>Disk<dd>$(df -h / | awk 'NR == 2 { print $2 }')
  <dt>Uptime<dd>${seconds%.*} seconds
</dl>
</html>
EOF
