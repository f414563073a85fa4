#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The README's programs, built by the README's own command lines and run. KTAP.
#   BACKEND=device|shm   (default: device if /dev/tribuf is there)
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
top=$PWD
[ -c /dev/tribuf ] && present=device || present=shm
[ "${BACKEND:-$present}" = device ] && channel=readme-test-$$ || channel=shm:readme-test-$$
command -v cc >/dev/null || { echo "1..0 # SKIP no C compiler"; exit 4; }
[ -e "build/$(cc -dumpmachine)/lib/libtribuf.a" ] || { echo "1..0 # SKIP libtribuf is not built: make lib"; exit 4; }

work=$(mktemp -d)
trap 'jobs -p | xargs -r kill 2>/dev/null; rm -rf "$work"' EXIT
ln -s "$top/include" "$top/build" "$work/"
cd "$work" || exit 1

count=0 failed=0
result() { # STATUS NAME
	count=$((count + 1))
	[ "$1" = 0 ] && echo "ok $count $2" && return
	echo "not ok $count $2"
	failed=$((failed + 1))
}

# A block whose first line is /* NAME.c: ... */ is that file.
extract() {
	awk '/^```c$/ { take = 1; next } /^```$/ { take = 0; name = "" }
	     take && !name { name = $2; sub(":", "", name) } take { print >name }' "$top/README.md"
	[ -s producer.c ] && [ -s consumer.c ]
}

build_as_printed() {
	local line lines=0
	while read -r line; do
		bash -c "$line -Wall -Wextra -Werror" || return
		lines=$((lines + 1))
	done < <(sed -n 's/^    \(cc .*\)/\1/p' "$top/README.md")
	[ $lines = 2 ]
}

# Last frame, strictly rising numbers, nothing but frames.
exchange() {
	local consumer
	timeout 60 ./consumer "$channel" >frames & consumer=$!
	timeout 60 ./producer "$channel" || return
	wait $consumer || return
	[ "$(tail -n 1 frames)" = 'frame 3000' ] || { echo "# last: $(tail -n 1 frames)"; return 1; }
	! grep -vx 'frame [0-9]*' frames || return
	cut -d' ' -f2 frames | sort -n -u | cmp - <(cut -d' ' -f2 frames)
}

echo "TAP version 13"
echo "1..5"
extract; result $? readme_has_both_programs
[ "$(wc -l <producer.c)" -le 22 ] && [ "$(wc -l <consumer.c)" -le 22 ]; result $? programs_are_short
build_as_printed; result $? programs_build_as_printed
exchange; result $? programs_exchange_frames
./producer "${channel%%readme*}no/such" 2>err; [ $? = 1 ] && [ -s err ]; result $? producer_explains_a_failure
echo "# Totals: pass:$((count - failed)) fail:$failed xfail:0 xpass:0 skip:0 error:0"
[ $failed = 0 ]
