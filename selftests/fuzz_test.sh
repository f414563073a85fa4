#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Every program that ever made the kernel complain, or that the fuzzer begins with
# (selftests/fuzz/*.programs), run again: no complaint, nothing left. KTAP.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
fuzz=${TRIBUF_BUILD:-build/$(cc -dumpmachine)}/selftests/fuzz
[ -c /dev/tribuf ] || { echo "1..0 # SKIP no /dev/tribuf"; exit 4; }
[ -x "$fuzz" ] || { echo "1..0 # SKIP $fuzz is not built: it needs liburing-dev"; exit 4; }

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
programs=(selftests/fuzz/*.programs)
n=0 failed=0
echo 'TAP version 13'
echo "1..${#programs[@]}"
for file in "${programs[@]}"; do
	"$fuzz" -r "$file" -n 3 -o "$out" || { failed=1; printf 'not '; }
	echo "ok $((n += 1)) $(basename "$file" .programs)"
done
exit $failed
