#!/bin/sh
# Runs each fuzz target for a while: fuzz.sh TIME. What fails is kept in testdata/fuzz, and is a test from then on.
set -eu
time=${1:-5s}
failed=0
for pkg in $(grep -rl --include='*_test.go' '^func Fuzz' internal client cmd | xargs -n1 dirname | sort -u); do
	for target in $(go test -list '^Fuzz' "./$pkg" | grep '^Fuzz'); do
		echo "fuzz $pkg $target for $time"
		go test "./$pkg" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 20x -parallel "${FUZZPARALLEL:-2}" || failed=1
	done
done
exit $failed
