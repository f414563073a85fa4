# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# For what runs in a guest of a debug kernel: sourced by check, soak, figures, fuzz/run
# and mistakes/guest. On other kernels there is nothing to do, and nothing is done.

readonly kmemleak=/sys/kernel/debug/kmemleak

# KCSAN watches only when told to; what the kernel has lost before is not ours.
watch_kernel() {
	[ ! -e /sys/kernel/debug/kcsan ] || echo on >/sys/kernel/debug/kcsan
	[ ! -w $kmemleak ] || echo clear >$kmemleak
}

# What nobody points to any more. An object counts as lost only some seconds after
# it was made, and a stale pointer on a stack may hide it from the first scan.
leaks() {
	[ -w $kmemleak ] || return 0
	sleep 6
	echo scan >$kmemleak
	echo scan >$kmemleak
	cat $kmemleak
}
