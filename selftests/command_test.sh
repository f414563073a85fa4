#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The tribuf command, end to end: two processes, one channel, KTAP out.
#   BACKEND=device|shm   which channels (default: device if /dev/tribuf is there)
#   TRIBUF=FILE          the command (default: the one in TRIBUF_BUILD)
#   TRIBUF_BUILD=FOLDER  what make has built (default: for this machine)
#   TRIBUF_PATIENCE=N    times that everything may take longer (debug kernels)
#   TRIBUF_SCALE=X       below 1: that much less to transfer
#   HOST=1               leave the module loaded as it is
#   command_test.sh [NAME...]   only those tests
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
shopt -s nullglob
patience=${TRIBUF_PATIENCE:-1}

TRIBUF=${TRIBUF:-${TRIBUF_BUILD:-$PWD/build/$(cc -dumpmachine)}/bin/tribuf}
[ -x "$TRIBUF" ] || { echo "1..0 # SKIP $TRIBUF is not built: make tools"; exit 4; }
# Built for another machine it has no libkmod, and the module stays as it is.
! "$TRIBUF" load --help 2>&1 | grep -q 'without libkmod' || HOST=1
[ -c /dev/tribuf ] && present=device || present=shm
BACKEND=${BACKEND:-$present}
case $BACKEND in
device) prefix='' ;;
shm)    prefix=shm: ;;
*)      echo "Bail out! BACKEND=$BACKEND is neither device nor shm"; exit 1 ;;
esac

fail() { echo "# $*" >&2; exit 1; }
skip() { echo "$*" >"$dir/skip"; exit 4; }
expect() { # STATUS COMMAND...: runs it, output and errors into out and err
	local want=$1 status=0
	shift
	"$@" >"$dir/out" 2>"$dir/err" || status=$?
	[ "$status" = "$want" ] || fail "status $status, not $want: $* ($(tail -n 3 "$dir/err"))"
}
says() { grep -q -- "$1" "$dir/err" || fail "nothing about '$1' in: $(cat "$dir/err")"; }
ended() { # PID STATUS
	local status=0
	wait "$1" || status=$?
	[ "$status" = "$2" ] || fail "a process in the background ended with $status, not $2"
}
number() { # FILE KEY: a number from flat JSON
	[[ $(<"$1") =~ \"$2\":([0-9.e+-]+) ]] || fail "no number '$2' in $(<"$1")"
	echo "${BASH_REMATCH[1]}"
}
is() { # FILE KEY VALUE
	local value
	value=$(number "$1" "$2") || exit 1
	[ "$value" = "$3" ] || fail "$2 is $value, not $3"
}
until_true() { # COMMAND...: at most 20 s
	local i
	for ((i = 0; i < 400 * patience; i++)); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.05
	done
	fail "never came true: $*"
}
listed() { # [WORDS]: is our channel there, and is that said of it?
	local all
	all=$("$TRIBUF" ls --json 2>/dev/null)	# not <(), which would change $!
	[[ $all == *"\"name\":\"$ch\""* ]] || return
	all=${all#*"\"name\":\"$ch\""}
	[[ ${all%%\}*} == *"${1:-}"* ]]
}
has_consumer() { listed '"consumer":true'; }
has_producer() { listed '"producer":true'; }
scaled() { awk -v n="$1" -v x="${TRIBUF_SCALE:-1}" 'BEGIN { print int(x < 1 ? n * x : n) }'; }
limit() { timeout $((20 * patience)) "$@"; }	# for what should not block at all
lines() { seq 1000000 99999999 | head -c "$1" || true; }	# unlike blocks, no end of them
non_empty() { [ -s "$1" ]; }

whatever_the_backend() { [ "$BACKEND" = shm ] || skip 'the same on every backend: BACKEND=shm runs it'; }

# One file from pub --paced to sub, both checked.
transfer() { # FRAME-SIZE
	"$TRIBUF" sub "$ch" "$dir/copy" --stats="$dir/sub.json" --json --timeout $((60 * patience)) 2>"$dir/err" &
	until_true has_consumer		# who sends nothing does not wait for it
	"$TRIBUF" pub "$ch" "$dir/data" --paced --frame-size "$1" --timeout $((60 * patience)) \
		--stats="$dir/pub.json" --json 2>"$dir/err2" || fail "pub: $? $(cat "$dir/err2")"
	ended $! 0
	cmp "$dir/data" "$dir/copy" || fail "the copy differs"
	cat "$dir/err" "$dir/err2" >"$dir/messages"
	[ ! -s "$dir/messages" ] || fail "messages: $(cat "$dir/messages")"
}
frames_are() {
	is "$dir/pub.json" published "$1"
	is "$dir/pub.json" overwritten 0
	is "$dir/sub.json" taken "$1"
	is "$dir/sub.json" skipped 0
}

file_through() { # BYTES FRAME-SIZE
	local bytes
	bytes=$(scaled "$1")
	lines "$bytes" >"$dir/data"
	transfer "$2"
	frames_are $(((bytes + $2 - 1) / $2))
}

test_paced_100_MiB_in_64_KiB() { file_through $((100 << 20)) $((64 << 10)); }
test_paced_100_MiB_in_8_MiB() { file_through $((100 << 20)) $((8 << 20)); }
test_paced_4_MiB_in_4097() { file_through $((4 << 20)) 4097; }
test_paced_20000_of_1_byte() { file_through 20000 1; }

test_empty_file_publishes_nothing() {
	: >"$dir/data"
	transfer 64K
	frames_are 0
}

test_one_partial_frame() {
	echo hello >"$dir/data"
	transfer 8M
	frames_are 1
}

test_input_from_a_pipe_in_pieces() {
	"$TRIBUF" sub "$ch" "$dir/copy" --stats="$dir/sub.json" --json &
	{ printf ab; sleep 0.2; printf c; sleep 0.2; printf defgh; } |
		"$TRIBUF" pub "$ch" - --paced --frame-size 4
	ended $! 0
	[ "$(cat "$dir/copy")" = abcdefgh ] || fail "got $(cat "$dir/copy")"
	is "$dir/sub.json" taken 2
}

test_closed_standard_input_is_an_end() {
	"$TRIBUF" sub "$ch" "$dir/copy" &
	until_true has_consumer
	expect 0 "$TRIBUF" pub "$ch" --paced </dev/null
	ended $! 0
}

test_full_speed_is_whole_and_adds_up() {
	local published taken skipped
	"$TRIBUF" sub "$ch" --verify --stats="$dir/sub.json" --json &
	until_true has_consumer
	expect 0 "$TRIBUF" pub "$ch" --pattern --mixed --frame-size 64K --count 20000 \
		--stats="$dir/pub.json" --json
	ended $! 0
	is "$dir/sub.json" torn 0
	is "$dir/sub.json" disordered 0
	is "$dir/sub.json" stale_missed 0
	is "$dir/sub.json" last 20000
	published=$(number "$dir/pub.json" published)
	taken=$(number "$dir/sub.json" taken)
	skipped=$(number "$dir/sub.json" skipped)
	[[ $taken -gt 1 && $skipped -gt 0 ]] || fail "taken $taken, skipped $skipped"
	[ "$published" = $((taken + skipped)) ] || fail "$published != $taken + $skipped"
	is "$dir/pub.json" overwritten "$skipped"
	is "$dir/sub.json" stale_caught $((taken > 4 ? 4 * taken - 10 : taken * (taken - 1) / 2))
}

test_verify_notices_other_bytes() {
	lines 1M >"$dir/data"
	"$TRIBUF" sub "$ch" --verify --stats="$dir/sub.json" --json 2>"$dir/err" &
	"$TRIBUF" pub "$ch" "$dir/data" --paced --frame-size 64K
	ended $! 1
	is "$dir/sub.json" torn 16
	says 'are not what'
}

# One byte of a frame changed behind its back, which takes a channel that is a file.
test_verify_notices_one_byte() {
	local file size slot at
	[ "$BACKEND" = shm ] || skip 'only a file can be reached into'
	"$TRIBUF" create "$ch" --slot-size 4K >"$dir/line" &
	until_true non_empty "$dir/line"
	file=/dev/shm/tribuf.${ch#shm:}
	size=$(stat -c %s "$file")
	for at in 0 1999 2008 4095; do
		expect 0 "$TRIBUF" pub "$ch" --pattern --count 1
		expect 0 "$TRIBUF" sub "$ch" --verify
		for slot in 1 2 3; do	# whichever it is in
			change_byte "$file" $((size - slot * 4096 + at))
		done
		expect 1 "$TRIBUF" sub "$ch" --verify
		says '1 frames 1 are not'
	done
}
change_byte() { # FILE OFFSET
	perl -e 'open F, "+<", $ARGV[0]; seek F, $ARGV[1], 0; read F, $c, 1; seek F, $ARGV[1], 0;
		print F chr(ord($c) ^ 1)' "$@"
}

test_producer_goes_on_while_consumer_is_stopped() {
	local sub
	"$TRIBUF" sub "$ch" --verify --stats="$dir/sub.json" --json &
	sub=$!
	until_true has_consumer
	kill -STOP $sub
	expect 0 limit "$TRIBUF" pub "$ch" --pattern --frame-size 16K --count 5000
	kill -CONT $sub
	ended $sub 0
	is "$dir/sub.json" torn 0
	is "$dir/sub.json" last 5000
}

# What the killed one had in hand comes again, unless a newer frame has come: the newest
# is what is promised.
test_successor_of_a_killed_consumer_goes_on() {
	local pub sub size first second
	lines 512K >"$dir/data"
	"$TRIBUF" pub "$ch" "$dir/data" --paced --frame-size 1K --rate 500 &
	pub=$!
	"$TRIBUF" sub "$ch" "$dir/one" &
	sub=$!
	until_true non_empty "$dir/one"
	kill -KILL $sub
	wait $sub
	"$TRIBUF" sub "$ch" "$dir/two" || fail "the successor: $?"
	ended $pub 0
	first=$(stat -c %s "$dir/one") second=$(stat -c %s "$dir/two") size=524288
	cmp -n "$first" "$dir/one" "$dir/data" || fail "the first is no beginning"
	cmp "$dir/two" <(tail -c "$second" "$dir/data") || fail "the second is no end"
	[ $((first + second + 1024)) -ge $size ] || fail "$first and $second: more than the frame in hand was lost"
	[ $((first + second)) -le $((size + 1024)) ] || fail "more than one frame came twice"
}

test_paced_waits_for_the_last_frame() {
	local pub
	echo x | "$TRIBUF" pub "$ch" --paced &
	pub=$!
	until_true has_producer
	sleep 0.5
	kill -0 $pub 2>/dev/null || fail "pub --paced left before its frame was taken"
	[ "$("$TRIBUF" sub "$ch")" = x ] || fail "wrong frame"
	ended $pub 0
}

test_paced_timeout() {
	echo x >"$dir/data"
	expect 3 limit "$TRIBUF" pub "$ch" "$dir/data" --paced --timeout 0.3
	says timeout
}

test_sub_timeout_without_a_producer() {
	expect 3 limit "$TRIBUF" sub "$ch" --timeout 0.3
	says timeout
}

test_sub_timeout_between_frames() {
	{ echo x; sleep 30; } | "$TRIBUF" pub "$ch" --frame-size 2 &
	expect 3 limit "$TRIBUF" sub "$ch" --timeout 1
	[ "$(cat "$dir/out")" = x ] || fail "no frame before the timeout"
}

test_roles_are_taken_once() {
	"$TRIBUF" sub "$ch" >/dev/null &
	until_true has_consumer
	expect 6 "$TRIBUF" sub "$ch"
	says "cannot take frames from $ch"
	sleep 30 | "$TRIBUF" pub "$ch" &
	until_true has_producer
	expect 6 "$TRIBUF" pub "$ch" /dev/null
	expect 3 "$TRIBUF" sub "$ch" --observe --timeout 0.1
}

test_file_is_emptied_by_who_has_the_role_only() {
	local sub
	lines 1000 >"$dir/copy"
	"$TRIBUF" sub "$ch" "$dir/copy" &
	sub=$!
	{ echo x; sleep 30; } | "$TRIBUF" pub "$ch" --frame-size 2 &
	until_true grep -qx x "$dir/copy"
	expect 6 "$TRIBUF" sub "$ch" "$dir/copy"
	[ "$(<"$dir/copy")" = x ] || fail "$(stat -c %s "$dir/copy") bytes"
	kill -TERM $sub
	ended $sub 143
	[ "$(<"$dir/copy")" = x ] || fail "$(stat -c %s "$dir/copy") bytes at the end"
}

# Wherever it ends: in the maps, or with the observer's copy.
test_lack_of_memory_is_told() {
	local size status=1 ends=0
	whatever_the_backend
	(ulimit -v 24576 && "$TRIBUF" --version) >"$dir/out" 2>&1 || skip 'needs more address space for itself'
	"$TRIBUF" pub "$ch" --pattern --frame-size 8M --rate 10 &
	until_true has_producer
	for ((size = 24; status == 1; size += 4)); do
		status=0
		(ulimit -v $((size << 10)) && exec "$TRIBUF" sub "$ch" --observe --verify --count 1) 2>"$dir/err" || status=$?
		[ $status = 0 ] || says 'address space (ulimit -v)'
		ends=$((ends + 1))
	done
	[ $status = 0 ] || fail "status $status: $(<"$dir/err")"
	[ $ends -gt 2 ] || fail 'memory lacked nowhere'
}

# Large frames: the producer often outruns the copies, which must show.
test_observers_see_whole_frames() {
	local one two pub sub
	"$TRIBUF" sub "$ch" --observe --verify --count 100 --stats="$dir/one.json" --json &
	one=$!
	"$TRIBUF" sub "$ch" --observe --verify --count 100 --stats="$dir/two.json" --json &
	two=$!
	"$TRIBUF" sub "$ch" --verify &
	sub=$!
	until_true has_consumer
	until_true listed '"observers":2'
	"$TRIBUF" pub "$ch" --pattern --mixed --frame-size 4M --duration 60 &
	pub=$!
	ended $one 0
	ended $two 0
	is "$dir/one.json" torn 0
	is "$dir/two.json" torn 0
	kill -TERM $pub
	ended $pub 143
	ended $sub 0
}

sets_can_wait() { [ "$BACKEND" = device ] || skip 'a set waits for channels of the device only'; }
is_output() { # LINE..., in any order
	[ "$(sort "$dir/out")" = "$(printf '%s\n' "$@")" ] || fail "not as expected: $(<"$dir/out")"
}
knows() { # NAME WORDS: does info say so?
	"$TRIBUF" info "$1" --json 2>/dev/null | grep -F -- "$2"
}

# Named before they are there, and each to its end, whatever the others do.
test_set_takes_from_each_channel() {
	local sub one
	sets_can_wait
	"$TRIBUF" sub --set "$ch.1" "$ch.2" "$ch.3" >"$dir/out" &
	sub=$!
	until_true knows "$ch.3" "\"consumer_pid\":$sub,"
	for one in 1 2 3; do
		lines 2500 | "$TRIBUF" pub "$ch.$one" --paced --frame-size 1000 -q &
	done
	ended $sub 0
	is_output "$ch."{1,2,3}" "{'1 1000','2 1000','3 500'}
}

test_set_ends_as_told() {
	local sub
	sets_can_wait
	expect 3 limit "$TRIBUF" sub --set "$ch.1" "$ch.2" --timeout 0.3
	says 'no frame came on any channel'
	# A successor's frames too; and no more of them than asked for.
	"$TRIBUF" sub --set "$ch.1" "$ch.2" --follow --count 3 >"$dir/out" &
	sub=$!
	for _ in 1 2 3; do
		echo x | "$TRIBUF" pub "$ch.2" --paced --frame-size 2 -q
	done
	ended $sub 0
	is_output "$ch.2 "{1,2,3}' 2'
	"$TRIBUF" sub --set "$ch.1" &
	sub=$!
	until_true knows "$ch.1" "\"consumer_pid\":$sub,"
	kill -TERM $sub
	ended $sub 143
}

# One that was replaced is told of, and the others' frames still come.
test_set_goes_on_when_one_of_it_ends() {
	local sub
	sets_can_wait
	sleep 30 | "$TRIBUF" pub "$ch.1" --frame-size 2 -q &
	"$TRIBUF" sub --set "$ch.1" "$ch.2" >"$dir/out" 2>"$dir/err" &
	sub=$!
	until_true knows "$ch.1" "\"consumer_pid\":$sub,"
	sleep 30 | "$TRIBUF" pub "$ch.1" --replace --frame-size 2 -q &
	until_true non_empty "$dir/err"
	echo x | "$TRIBUF" pub "$ch.2" --paced --frame-size 2 -q || fail "pub: $?"
	ended $sub 4
	says "replaced channel $ch.1"
	is_output "$ch.2 1 2"
}

is_not_ours() { [ "$(readlink "$1")" != "$(readlink /proc/self/ns/ipc)" ]; }	# NAMESPACE

# An IPC namespace of its own, where there are no channels but the test's.
make_space() {
	sets_can_wait
	unshare --ipc true 2>/dev/null || skip 'needs the right to make a namespace'
	unshare --ipc sleep 100 &
	space=/proc/$!/ns/ipc
	until_true is_not_ours "$space"
}
there() { nsenter --ipc="$space" "$TRIBUF" "$@"; }

test_all_takes_from_those_that_are_free() {
	local space
	make_space
	expect 1 there sub --all
	says 'no channel'
	{ echo x; sleep 30; } | there pub "$ch.1" --frame-size 2 -q &
	{ echo yy; sleep 30; } | there pub "$ch.2" --frame-size 3 -q &
	there sub "$ch.2" >"$dir/busy" &
	until_true non_empty "$dir/busy"
	until_true there info "$ch.1"
	expect 0 there sub --all --count 1 --timeout 20
	is_output "$ch.1 1 2"
	expect 3 there sub --all --timeout 0.3
	is_output "$ch.1 1 2"
	expect 3 there sub --all --observe --timeout 0.3
	is_output "$ch."{'1 1 2','2 1 3'}
}

# However few there may be: it listens to both channels, or says what is missing.
test_all_is_not_fewer_for_lack_of_descriptors() {
	local space one limit status few=0
	make_space
	for one in 1 2; do
		{ echo x; sleep 30; } | there pub "$ch.$one" --frame-size 2 -q &
		until_true there sub "$ch.$one" --observe --count 1
	done
	for limit in {4..12}; do
		status=0
		(ulimit -Sn "$limit" && there sub --all --observe --timeout 0.1) >"$dir/out" 2>"$dir/err" || status=$?
		if [ $status = 3 ]; then
			is_output "$ch."{1,2}' 1 2'
		else
			says 'Too many open files'
			few=$((few + 1))
		fi
	done
	[ $few -gt 0 ] || fail 'never too few of them'
}

test_reader_of_the_output_leaves() {
	"$TRIBUF" pub "$ch" --pattern --frame-size 4K --rate 1000 &
	"$TRIBUF" sub "$ch" 2>"$dir/err" | head -c 10000 >/dev/null
	[ "${PIPESTATUS[0]}" = 5 ] || fail "status ${PIPESTATUS[0]}, not 5"
	[ ! -s "$dir/err" ] || fail "messages: $(cat "$dir/err")"
}

test_output_is_full() {
	"$TRIBUF" pub "$ch" --pattern --frame-size 4K --rate 1000 &
	expect 1 "$TRIBUF" sub "$ch" /dev/full
	says 'No space left'
}

unread() { # ARGUMENT...: with an output that its reader has left
	perl -e 'pipe(R, W); close R; open(STDOUT, ">&", W); exec @ARGV' "$TRIBUF" "$@"
}
full() { "$TRIBUF" "$@" >/dev/full; }

test_every_command_tells_why_its_output_failed() {
	local command
	"$TRIBUF" create "$ch" --slot-size 4K >"$dir/line" &
	until_true non_empty "$dir/line"
	for command in "info $ch" "info $ch --json" --help 'help sub' 'sub --help' --version; do
		# shellcheck disable=SC2086  # words on purpose
		expect 5 unread $command
		[ ! -s "$dir/err" ] || fail "$command: $(<"$dir/err")"
		# shellcheck disable=SC2086
		expect 1 full $command
		says 'No space left'
	done
	expect 5 unread ls --json
	expect 1 full ls --json
	says 'No space left'
	# Which is told at the end; what happened meanwhile is another matter.
	"$TRIBUF" create "$ch.2" --slot-size 4K >/dev/full 2>"$dir/err" &
	until_true "$TRIBUF" info "$ch.2"
	kill -TERM $!
	ended $! 1
	says 'No space left'
}

test_set_tells_why_its_output_failed() {
	sets_can_wait
	"$TRIBUF" pub "$ch" --pattern --frame-size 4K --rate 100 &
	until_true has_producer
	expect 1 full sub --set "$ch"
	says 'No space left'
	expect 5 unread sub --set "$ch"
	[ ! -s "$dir/err" ] || fail "messages: $(<"$dir/err")"
}

test_output_cannot_be_made() {
	expect 1 "$TRIBUF" sub "$ch" "$dir/no/such"
	says 'cannot write'
	listed && fail "the channel was touched all the same"
	return 0
}

# A channel's file that got the number of one would have messages and frames in its pages.
test_standard_descriptors_are_closed() {
	local pub
	"$TRIBUF" pub "$ch" --pattern --frame-size 4K --rate 1000 2>"$dir/err2" &
	pub=$!
	until_true has_producer
	expect 1 closing '>&-' sub "$ch"
	says 'cannot write standard output: Bad file descriptor'
	expect 1 closing '>&-' ls
	says 'standard output: Bad file descriptor'
	expect 0 closing '2>&-' sub "$ch" --verify --count 3 --json
	expect 0 "$TRIBUF" sub "$ch" --verify --count 3
	kill -TERM $pub
	ended $pub 143
	until_true is_gone
	expect 1 closing '<&-' pub "$ch"
	says 'cannot read standard input: Bad file descriptor'
}
closing() { # REDIRECTION ARGUMENT...
	sh -c "exec \"\$@\" $1" sh "$TRIBUF" "${@:2}"
}

test_input_cannot_be_read() {
	expect 1 "$TRIBUF" pub "$ch" "$dir/none"
	says 'cannot read'
	expect 1 "$TRIBUF" pub "$ch" "$dir"
	says 'cannot read'
}

test_signals_end_cleanly() {
	local signal status pid
	for signal in INT:130 TERM:143 HUP:129; do
		status=${signal#*:} signal=${signal%:*}
		# INT is ignored in a shell's background jobs.
		env --default-signal=INT "$TRIBUF" pub "$ch" --pattern --stats="$dir/pub.json" --json &
		pid=$!
		env --default-signal=INT "$TRIBUF" sub "$ch" --verify --stats="$dir/sub.json" --json --follow &
		until_true has_producer
		until_true has_consumer
		sleep 0.2
		kill "-$signal" $pid
		ended $pid "$status"
		kill "-$signal" $!	# it sleeps now
		ended $! "$status"
		[ "$(number "$dir/pub.json" published)" -gt 0 ] || fail "nothing published"
		[ "$(number "$dir/sub.json" taken)" -gt 0 ] || fail "nothing taken"
		until_true is_gone
	done
}
is_gone() { ! listed; }

test_signals_that_were_ignored_stay_so() {
	local sub
	env --ignore-signal=HUP --ignore-signal=INT "$TRIBUF" sub "$ch" "$dir/copy" &
	sub=$!
	until_true has_consumer
	kill -HUP $sub
	kill -INT $sub
	echo x | "$TRIBUF" pub "$ch" --paced --frame-size 2 --timeout $((20 * patience)) || fail "pub: $?"
	ended $sub 0
	[ "$(<"$dir/copy")" = x ] || fail "got $(<"$dir/copy")"
}

test_signal_while_input_or_output_blocks() {
	local pub sub
	mkfifo "$dir/in" "$dir/full"
	sleep 60 >"$dir/in" &
	tail -f /dev/null <"$dir/full" &
	"$TRIBUF" pub "$ch" "$dir/in" &
	pub=$!
	until_true has_producer
	kill -TERM $pub
	ended $pub 143
	"$TRIBUF" pub "$ch" --pattern --frame-size 1M --rate 100 &
	"$TRIBUF" sub "$ch" "$dir/full" &
	sub=$!
	until_true has_consumer
	sleep 0.3
	kill -TERM $sub
	ended $sub 143
}

test_non_blocking_output() {
	command -v perl >/dev/null || skip 'no perl here'
	lines 2M >"$dir/data"
	"$TRIBUF" pub "$ch" "$dir/data" --paced --frame-size 100000 &
	perl -MFcntl -e 'fcntl(STDOUT, F_SETFL, O_WRONLY | O_NONBLOCK) or die; exec @ARGV' \
		"$TRIBUF" sub "$ch" 2>"$dir/err" | { sleep 0.3; cat >"$dir/copy"; }
	[ "${PIPESTATUS[0]}" = 0 ] || fail "status ${PIPESTATUS[0]}: $(cat "$dir/err")"
	cmp "$dir/data" "$dir/copy" || fail "the copy differs"
}

test_guarded_file_arrives_whole() {
	if [ "$BACKEND" = shm ]; then
		expect 1 "$TRIBUF" pub "$ch" --guarded </dev/null
		says 'no memory can be guarded without the kernel'
		return
	fi
	lines 600K >"$dir/data"
	"$TRIBUF" sub "$ch" "$dir/copy" --timeout $((60 * patience)) &	# before there is any kind
	until_true has_consumer
	expect 0 "$TRIBUF" pub "$ch" "$dir/data" --guarded --paced --frame-size 64K
	ended $! 0
	cmp "$dir/data" "$dir/copy" || fail "the copy differs"
	# To an observer too, who copies by the kernel, with every byte checked.
	"$TRIBUF" sub "$ch" --observe --verify --stats="$dir/sub.json" --json &
	until_true listed '"observers":1'
	expect 0 "$TRIBUF" pub "$ch" --guarded --pattern --mixed --rate 500 --count 20
	ended $! 0
	is "$dir/sub.json" torn 0
	is "$dir/sub.json" last 20
}

test_guarded_is_what_one_gets_or_nothing() {
	local keeper
	[ "$BACKEND" = device ] || skip "shm cannot guard: see the test before"
	"$TRIBUF" create "$ch" --slot-size 4K --guarded >"$dir/line" &
	keeper=$!
	until_true non_empty "$dir/line"
	listed '"guarded":true' || fail "not listed as guarded: $("$TRIBUF" ls --json)"
	"$TRIBUF" ls | grep -q "^$ch .*guarded" || fail "ls: $("$TRIBUF" ls)"
	expect 0 "$TRIBUF" info "$ch"
	grep -q '^ *state .*guarded' "$dir/out" || fail "info: $(cat "$dir/out")"
	echo plain | "$TRIBUF" pub "$ch" || fail "a plain producer could not join"
	[ "$("$TRIBUF" sub "$ch")" = plain ] || fail "a plain consumer could not join"
	expect 1 "$TRIBUF" create "$ch" --slot-size 4K
	says 'is guarded'
	kill -TERM $keeper
	ended $keeper 0
	"$TRIBUF" create "$ch" --slot-size 4K >"$dir/line2" &
	keeper=$!
	until_true non_empty "$dir/line2"
	expect 1 "$TRIBUF" pub "$ch" --guarded </dev/null
	says 'is not guarded'
	kill -TERM $keeper
	ended $keeper 0
}

test_example_runs_on_both_kinds() {
	local kind events=${TRIBUF%/bin/*}/examples/events pid
	[ "$BACKEND" = device ] || skip "shm has no descriptor for an event loop"
	[ -x "$events" ] || skip "$events is not built"
	for kind in --quiet --guarded; do	# the former says nothing of a kind
		"$events" "$ch" >"$dir/events$kind" &
		pid=$!
		until_true has_consumer
		lines 300K >"$dir/data"
		expect 0 "$TRIBUF" pub "$ch" "$dir/data" $kind --paced --frame-size 64K
		until_true grep -q 'producer has left' "$dir/events$kind"
		kill -TERM $pid
		ended $pid 143
		[ "$(grep -c 'frame [1-5]: ' "$dir/events$kind")" = 5 ] || fail "$kind: $(cat "$dir/events$kind")"
	done
}

test_create_holds_the_newest_frame() {
	local keeper
	expect 2 "$TRIBUF" create "$ch"
	"$TRIBUF" create "$ch" --slot-size 64K --mode 640 >"$dir/line" &
	keeper=$!
	until_true non_empty "$dir/line"
	listed '"keepers":1' || fail "not listed: $("$TRIBUF" ls --json)"
	expect 1 "$TRIBUF" create "$ch" --slot-size 64K --excl
	{ echo one; echo two; } | "$TRIBUF" pub "$ch" --frame-size 4 || fail pub
	expect 0 "$TRIBUF" info "$ch" --json
	is "$dir/out" published 2
	is "$dir/out" keepers 1
	is "$dir/out" slot_size 65536
	for _ in 1 2; do	# taken already does not mean gone
		[ "$("$TRIBUF" sub "$ch")" = two ] || fail "the newest frame was not kept"
	done
	expect 1 "$TRIBUF" pub "$ch" --frame-size 1M </dev/null
	says 'do not fit'
	kill -TERM $keeper
	ended $keeper 0
	until_true is_gone
	expect 1 "$TRIBUF" info "$ch"
	says "$ch"
}

test_info_on_a_channel_without_a_creator() {
	expect 1 "$TRIBUF" info "$ch"
	"$TRIBUF" sub "$ch" &
	until_true has_consumer
	expect 0 "$TRIBUF" info "$ch" --json
	grep -q '"consumer":true.*"pending":true' "$dir/out" || fail "$(cat "$dir/out")"
	kill $!
	ended $! 143
	until_true is_gone
	expect 1 "$TRIBUF" info "$ch"
	says "$ch"
	listed && fail "looking has made a channel"
	return 0
}

test_follow_goes_on_with_the_next_producer() {
	"$TRIBUF" sub "$ch" "$dir/copy" --follow &
	until_true has_consumer
	echo one | "$TRIBUF" pub "$ch" --paced --frame-size 64 || fail "first"
	echo two | "$TRIBUF" pub "$ch" --paced --frame-size 64 || fail "second"
	kill -TERM $!
	ended $! 143
	[ "$(tr '\n' ' ' <"$dir/copy")" = 'one two ' ] || fail "got $(cat "$dir/copy")"
}

test_replaced_channel() {
	local pub sub
	"$TRIBUF" sub "$ch" >"$dir/one" 2>"$dir/err" &
	sub=$!
	{ echo one; sleep 60; } | "$TRIBUF" pub "$ch" --frame-size 4 2>"$dir/err2" &
	until_true non_empty "$dir/one"
	echo another | "$TRIBUF" pub "$ch" --frame-size 64 --replace --paced 2>"$dir/err3" &
	pub=$!
	ended $sub 4
	says replaced
	[ "$("$TRIBUF" sub "$ch")" = another ] || fail "the new channel"
	ended $pub 0
}

test_follow_goes_over_to_the_new_channel() {
	local sub
	"$TRIBUF" sub "$ch" "$dir/copy" --follow 2>"$dir/err" &
	sub=$!
	{ echo one; sleep 60; } | "$TRIBUF" pub "$ch" --frame-size 4 2>"$dir/err2" &
	until_true non_empty "$dir/copy"
	echo another | "$TRIBUF" pub "$ch" --frame-size 64 --replace --paced || fail "pub: $?"
	kill -TERM $sub
	ended $sub 143
	[ "$(tr '\n' ' ' <"$dir/copy")" = 'one another ' ] || fail "got $(cat "$dir/copy")"
}

test_replaced_producer_notices() {
	local pub
	"$TRIBUF" pub "$ch" --pattern --rate 100 2>"$dir/err2" &
	pub=$!
	until_true has_producer
	expect 0 "$TRIBUF" pub "$ch" --replace --pattern --count 1
	ended $pub 4
	grep -q replaced "$dir/err2" || fail "$(cat "$dir/err2")"
}

test_count_rate_and_loop() {
	local from to
	printf 'aabbc' >"$dir/data"
	"$TRIBUF" sub "$ch" "$dir/copy" &
	until_true has_consumer
	from=$(date +%s%N)
	expect 0 "$TRIBUF" pub "$ch" "$dir/data" --frame-size 2 --loop --count 7 --rate 20 --paced
	to=$(date +%s%N)
	ended $! 0
	[ "$(cat "$dir/copy")" = aabbcaabbcaa ] || fail "got $(cat "$dir/copy")"
	[ $(((to - from) / 1000000)) -ge 290 ] || fail "7 frames at 20 Hz in less than 0.29 s"
	: >"$dir/data"
	expect 0 limit "$TRIBUF" pub "$ch" "$dir/data" --loop
	mkfifo "$dir/fifo"
	echo x >"$dir/fifo" &
	expect 2 "$TRIBUF" pub "$ch" "$dir/fifo" --loop
}

test_duration() {
	expect 0 limit "$TRIBUF" pub "$ch" --pattern --duration 0.3 --stats="$dir/pub.json" --json
	[ "$(number "$dir/pub.json" published)" -gt 1 ] || fail "nothing published"
}

test_duration_ends_every_wait() {
	local sub
	mkfifo "$dir/in"
	expect 0 limit "$TRIBUF" pub "$ch" "$dir/in" --duration 0.3	# for who writes
	sleep 60 >"$dir/in" &
	expect 0 limit "$TRIBUF" pub "$ch" "$dir/in" --duration 0.3	# for what is written
	expect 0 limit "$TRIBUF" pub "$ch" --pattern --paced --duration 0.3	# for a consumer
	expect 0 limit "$TRIBUF" pub "$ch" --pattern --paced --count 1 --duration 0.3
	expect 0 limit "$TRIBUF" pub "$ch" --pattern --rate 0.01 --duration 0.3 --stats="$dir/pub.json" --json
	is "$dir/pub.json" published 1
	"$TRIBUF" sub "$ch" "$dir/copy" &
	sub=$!
	until_true has_consumer
	{ printf abc; sleep 60; } >"$dir/in" &
	expect 0 limit "$TRIBUF" pub "$ch" "$dir/in" --duration "$patience"
	ended $sub 0
	[ "$(<"$dir/copy")" = abc ] || fail "got $(<"$dir/copy")"
}

test_joins_a_channel_with_larger_slots() {
	"$TRIBUF" create "$ch" --slot-size 1M >"$dir/line" &
	until_true non_empty "$dir/line"
	"$TRIBUF" sub "$ch" "$dir/copy" --stats="$dir/sub.json" --json &
	lines 3M >"$dir/data"
	until_true has_consumer
	expect 0 "$TRIBUF" pub "$ch" "$dir/data" --paced	# frames as large as its slots
	ended $! 0
	cmp "$dir/data" "$dir/copy" || fail "the copy differs"
	is "$dir/sub.json" taken 3
}

test_usage_errors() {
	local line
	whatever_the_backend
	while read -r line; do
		# shellcheck disable=SC2086  # words on purpose
		expect 2 "$TRIBUF" $line </dev/null
		says help
		[ ! -s "$dir/out" ] || fail "standard output: $line"
	done <<-END
		nonsense
		help nonsense
		pub
		pub $ch a b
		pub $ch --frame-size 0
		pub $ch --frame-size -1
		pub $ch --frame-size 4X
		pub $ch --frame-size 99999999999999999999
		pub $ch --frame-size 99999999999999T
		pub $ch --frame-size 8K --slot-size 4K
		pub $ch --rate 0
		pub $ch --rate fast
		pub $ch --count 0
		pub $ch --mode 999
		pub $ch --duration 0
		pub $ch --timeout 1
		pub $ch --timeout -1 --paced
		pub $ch --loop
		pub $ch --mixed
		pub $ch file --pattern
		pub $ch --nonsense
		sub
		sub $ch a b
		sub $ch --count x
		sub $ch --timeout x
		sub --set
		sub --all $ch
		sub --all --set $ch
		sub --set $ch --verify
		sub --all --stats
		create
		create $ch
		create $ch --slot-size 4K --granule 3
		ls x
		info
		doctor x
		unload x
		load file nonsense
		bench x
		bench --backend usb
		bench --seconds
		bench --seconds 3601
	END
	expect 2 "$TRIBUF"
	expect 1 "$TRIBUF" pub "${prefix}a/b" </dev/null
	expect 1 "$TRIBUF" sub "$prefix$(printf 'x%.0s' {1..64})"
}

test_help_and_manual_agree() {
	local command manual section commands
	whatever_the_backend
	manual=$(<tools/tribuf.1) manual=${manual//\\-/-}
	expect 0 "$TRIBUF" --help
	commands=$(sed -n '/^  pub /,/^$/s/^  \([a-z]*\) .*/\1/p' "$dir/out")
	[ "$(wc -w <<<"$commands")" = 9 ] || fail "commands: $commands"
	for command in $commands; do
		expect 0 "$TRIBUF" "$command" --help
		[[ $(<"$dir/out") == "usage: tribuf $command"* ]] || fail "$command --help"
		mv "$dir/out" "$dir/help"
		expect 0 "$TRIBUF" help "$command"
		[ "$(<"$dir/help")" = "$(<"$dir/out")" ] || fail "help $command is another text"
		[[ $manual == *".SS tribuf $command"* ]] || fail "the manual lacks $command"
		section=${manual#*".SS tribuf $command"} section=${section%%$'\n.S'[SH]*}
		options_are_in "$section"
	done
	expect 0 "$TRIBUF" --version
}
options_are_in() { # SECTION OF THE MANUAL
	local line options=0
	while read -r line; do
		[[ $line =~ ^(-[a-z], )?(--[a-z-]+) ]] || continue
		[[ $1 == *"${BASH_REMATCH[2]}"* ]] || fail "the manual lacks $command ${BASH_REMATCH[2]}"
		options=$((options + 1))
	done <"$dir/help"
	[ $options -gt 0 ] || fail "no options in the help of $command"
}

test_json_is_json() {
	command -v python3 >/dev/null || skip 'no python3 to check JSON with'
	"$TRIBUF" create "$ch" --slot-size 4K >"$dir/line" &
	until_true non_empty "$dir/line"
	mkdir "$dir/json"
	"$TRIBUF" ls --json >"$dir/json/ls"
	"$TRIBUF" info "$ch" --json >"$dir/json/info"
	"$TRIBUF" doctor --json >"$dir/json/doctor"
	"$TRIBUF" pub "$ch" --pattern --count 1 --json >"$dir/json/pub" 2>&1
	"$TRIBUF" sub "$ch" --verify --json >"$dir/json/sub" 2>&1
	# One for all: in an emulated machine Python takes seconds to start.
	python3 -c '
import json, sys
folder, name = sys.argv[1:]
told = { of: json.load(open(folder + of)) for of in ("ls", "info", "doctor", "pub", "sub") }
channel = [c for c in told["ls"] if c["name"] == name][0]
assert channel["slot_size"] == 4096 and channel["keepers"] == 1 and not channel["leftover"]
assert channel["mode"] == "0600", channel
assert told["doctor"]["findings"] == sum(c["status"] == "problem" for c in told["doctor"]["checks"])
assert told["pub"]["published"] == told["sub"]["taken"] == 1, told' "$dir/json/" "$ch" 2>"$dir/why" || fail "$(cat "$dir/why")"
}

# strace sees what calls.c must have counted, and beside that what attaching takes,
# which is the same for few frames and for many.
test_counted_system_calls_are_those_made() {
	local frames few many
	strace -o "$dir/trace" true 2>/dev/null || skip 'no strace, or it may not trace'
	"$TRIBUF" sub "$ch" --verify --follow &
	until_true has_consumer
	for frames in 10 80; do		# slow enough for the consumer to sleep each time
		strace -o "$dir/trace" -e trace=ioctl,ppoll,poll,futex,fcntl,epoll_pwait2,epoll_ctl,sched_getaffinity "$TRIBUF" pub "$ch" \
			--pattern --frame-size 4K --count $frames --paced --rate 40 --quiet \
			--stats="$dir/pub.json" --json || fail pub
		[ "$(number "$dir/pub.json" rings)" -gt 0 ] || fail "no ring counted"
		few=${many:-} many=$(number "$dir/pub.json" system_calls) || exit 1
		[ "$many" -ge $((frames / 2)) ] || fail "only $many calls for $frames frames"
		many=$(($(grep -c '^[a-z]' "$dir/trace") - many))
	done
	# Attaching and detaching are not counted, and take a call more or less by who is
	# faster; a way that frames take uncounted would show in tens.
	[ $((few > many ? few - many : many - few)) -le 2 ] ||
		fail "not counted: $few for 10 frames, $many for 80"
}

# calls.c counts at the functions in WRAPPED; the library must have no other way.
test_library_enters_the_kernel_only_where_it_is_counted() {
	local archive wrapped others
	whatever_the_backend
	command -v nm >/dev/null || skip 'no nm'
	archive=$(dirname "$TRIBUF")/../lib/libtribuf.a
	[ -e "$archive" ] || skip 'libtribuf.a is not there'
	wrapped=$(sed -n 's/^WRAPPED *[:+]= *//p' tools/Makefile | paste -sd' ' | tr ' ' '|')
	# Not the frame path: attaching, detaching; and what stays in user space.
	others='__sched_cpucount|epoll_create1|open|open64|openat|openat64|close|mmap|mmap64|munmap|madvise|fstat|fstat64|fstatat|fstatat64'
	others+='|stat|stat64|lstat|lstat64|ftruncate|ftruncate64|fallocate|fallocate64|posix_fallocate|posix_fallocate64'
	others+='|unlink|unlinkat|link|linkat|rename|renameat|renameat2|mkstemp|mkstemp64|mkostemp|fchmod|fchown|umask'
	others+='|opendir|readdir|readdir64|closedir|dirfd|fdopendir|sysconf|getpid|geteuid|getegid|getuid|getgid'
	others+='|clock_gettime|pread|pread64|pwrite|pwrite64|memfd_create|flock|getrandom|gettid|sched_yield|statfs|fstatfs|readlink'
	others+='|calloc|malloc|aligned_alloc|free|mem[a-z]*|str[a-z]*|v?snprintf|__errno_location|__tls_get_addr|_GLOBAL_OFFSET_TABLE_'
	others+='|pthread_[a-z_]*|sigfillset|abort|qsort|__stack_chk_fail|fchownat|fchmodat|usleep|nanosleep|clock_nanosleep|shm_open|shm_unlink'
	nm -u "$archive" | awk 'NF == 2 { print $2 }' | sort -u |
		comm -23 - <(nm --defined-only "$archive" | awk 'NF == 3 { print $3 }' | sort -u) |
		grep -vxE "$wrapped|$others" >"$dir/unknown"
	[ ! -s "$dir/unknown" ] || fail "not counted: $(tr '\n' ' ' <"$dir/unknown")"
}

test_doctor() {
	if [ "$BACKEND" = device ]; then
		! "$TRIBUF" load --help 2>&1 | grep -q 'without libkmod' || skip 'built without libkmod'
		expect 0 "$TRIBUF" doctor
		grep -q '^ok *loaded *this build' "$dir/out" || fail "$(cat "$dir/out")"
	else
		[ ! -c /dev/tribuf ] || skip 'the device is there: BACKEND=device runs it'
		expect 1 "$TRIBUF" doctor
		grep -q '^PROBLEM' "$dir/out" || fail "$(cat "$dir/out")"
		grep -q -- '->' "$dir/out" || fail "no remedy"
	fi
}

test_bench_measures() {
	local processors
	processors=$(nproc)
	# shellcheck disable=SC2016  # that shell's
	expect 0 sh -c 'echo $$ >"$0"; exec "$@"' "$dir/pid" "$TRIBUF" bench --seconds 0.3 --backend "$BACKEND"
	[ -z "$(find /dev/shm -name "*bench.$(<"$dir/pid")*")" ] || fail "left in /dev/shm"
	grep -q 'consumer asleep .* x a futex' "$dir/out" || fail "$(<"$dir/out")"
	[ "$processors" = 1 ] || grep -q 'both spin .* x two cache lines' "$dir/out" || fail "$(<"$dir/out")"
	expect 0 "$TRIBUF" bench --json --seconds 0.3 --backend "$BACKEND"
	[[ $(<"$dir/out") == "{\"backend\":\"$BACKEND\""* ]] || fail "$(<"$dir/out")"
	command -v python3 >/dev/null || return 0
	python3 -c '
import json, sys
found = json.load(sys.stdin)
names = ["latency_asleep", "publish", "publish_acquire", "acquire_nothing"]
for name in names + ["latency_spinning"] * (sys.argv[1] != "1"):
    f = found[name]
    assert f["rounds"] and 0 < f["ratio_p25"] <= f["ratio"] <= f["ratio_p75"], f
    assert f["median_ns"] > 0 and f["limit_ns"] > 0, f
    assert "latency" not in name or f["frames"] and 0 < f["p50_ns"] <= f["p99_ns"] <= f["p999_ns"], f
assert found["publish"]["median_ns"] < found["publish_acquire"]["median_ns"]
assert found["publish"]["median_ns"] < found["latency_asleep"]["p50_ns"]
' "$processors" <"$dir/out" || fail "$(<"$dir/out")"
}

test_bench_says_what_it_cannot() {
	whatever_the_backend
	expect 0 taskset -c "$(taskset -cp $$ | sed 's/.*[ ,-]//')" "$TRIBUF" bench --json --seconds 0.1 --backend "$BACKEND"
	says 'one processor only'
	[[ $(<"$dir/out") != *latency_spinning* ]] || fail "$(<"$dir/out")"
	[ ! -c /dev/tribuf ] || return 0
	expect 1 "$TRIBUF" bench --backend device --seconds 0.1
	says 'tribuf load'
	expect 0 "$TRIBUF" bench --seconds 0.1
	says 'this is of shm'
}

child_of() { # PID: prints its child's; fails while there is none
	tr -d ' ' <"/proc/$1/task/$1/children" | grep .
}

test_bench_ends_by_signal_and_by_death() {
	local bench signal
	whatever_the_backend
	for signal in 15 2; do
		env --default-signal=INT "$TRIBUF" bench --seconds 8 --backend "$BACKEND" >/dev/null 2>&1 & bench=$!
		until_true child_of $bench
		kill -$signal $bench
		ended $bench $((128 + signal))
	done
	"$TRIBUF" bench --seconds 8 --backend "$BACKEND" >"$dir/out" 2>"$dir/err" & bench=$!
	until_true child_of $bench
	kill -KILL "$(child_of $bench)"
	ended $bench 1
	says 'ended by signal 9'
}

test_ls_names_leftovers() {
	[ "$BACKEND" = shm ] || skip 'the kernel leaves nothing behind'
	"$TRIBUF" create "$ch" --slot-size 4K >"$dir/line" &
	until_true non_empty "$dir/line"
	listed '"leftover":false' || fail "a live channel is called a leftover"
	kill -KILL $!
	wait $!
	listed '"leftover":true' || fail "not listed: $("$TRIBUF" ls)"
	"$TRIBUF" doctor | grep -q 'left by processes' || fail doctor
	echo x | "$TRIBUF" pub "$ch" --frame-size 4K || fail "the name cannot be used again"
	until_true is_gone
}

# U+009B, which a terminal obeys as the beginning of a command, and a letter.
test_ls_shows_no_control_characters() {
	local name=$ch$'\xc2\x9b\xc3\xa9'
	"$TRIBUF" create "$name" --slot-size 4K >"$dir/line" &
	until_true non_empty "$dir/line"
	"$TRIBUF" ls >"$dir/out"
	"$TRIBUF" ls --json >"$dir/json"
	kill $!
	wait $!
	grep -qF "$ch"'\302\233'$'\xc3\xa9 ' "$dir/out" || fail "$(cat -v "$dir/out")"
	grep -qF "\"$ch"'\u009b'$'\xc3\xa9"' "$dir/json" || fail "$(cat -v "$dir/json")"
}

root_and_device() {
	[ "$BACKEND" = device ] || skip 'for the device only'
	[ "$(id -u)" = 0 ] || skip 'must be root'
	[ "${HOST:-}" != 1 ] || skip 'HOST=1: the module stays as it is'
}
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }

test_unload_says_who_uses_it() {
	root_and_device
	"$TRIBUF" create "$ch" --slot-size 4K >"$dir/line" &
	until_true non_empty "$dir/line"
	expect 6 "$TRIBUF" unload
	says "process $! (tribuf)"
	kill $!
	wait $!
	mkfifo "$dir/fifo"
	{ exec 3<>/dev/tribuf; printf 'a\033[31m b' >/proc/$BASHPID/comm; read -r _ <>"$dir/fifo"; } &
	until_true grep -q 'a.\[31m b' /proc/$!/comm
	expect 6 "$TRIBUF" unload
	grep -qF "process $! (a\\033[31m\\ b)" "$dir/err" || fail "$(cat -v "$dir/err")"
	kill $!
	ended $! 143
}

test_load_and_unload() {
	root_and_device
	expect 0 "$TRIBUF" load
	grep -q 'this very build' "$dir/out" || fail "$(cat "$dir/out")"
	expect 0 "$TRIBUF" unload
	expect 0 "$TRIBUF" unload
	grep -q 'not loaded' "$dir/out" || fail "$(cat "$dir/out")"
	expect 1 "$TRIBUF" doctor
	expect 1 "$TRIBUF" pub "$ch" /dev/null
	says load
	expect 0 "$TRIBUF" ls
	expect 0 "$TRIBUF" load channel_bytes_max=1048576
	[ "$(cat /sys/module/tribuf/parameters/channel_bytes_max)" = 1048576 ] || fail parameter
	expect 0 "$TRIBUF" unload
	expect 0 "$TRIBUF" load
	until_true test -c /dev/tribuf
}

test_load_again_claims_nothing() {
	root_and_device
	expect 0 "$TRIBUF" load
	expect 1 "$TRIBUF" load "$dir/none.ko"
	says 'no such file'
	expect 1 "$TRIBUF" load /etc/passwd
	says 'no kernel module'
	expect 1 "$TRIBUF" load user_channels_max=5 channel_bytes_max=1048576
	says 'user_channels_max=5 was not applied'
	says '/sys/module/tribuf/parameters/channel_bytes_max,'
}

test_load_says_why_it_cannot() {
	local other
	root_and_device
	expect 1 as_nobody "$TRIBUF" unload
	says 'no right'
	expect 0 "$TRIBUF" unload
	expect 1 as_nobody "$TRIBUF" load
	says 'no right'
	expect 1 "$TRIBUF" load "$dir/none.ko"
	says 'no such file'
	expect 1 "$TRIBUF" load /etc/passwd
	says 'no kernel module'
	expect 1 "$TRIBUF" load channel_bytes_max=many
	says modinfo
	for other in build/*/tribuf.ko; do
		[[ $other != "build/$(uname -r)"[./]* ]] || continue	# a variant, as tools/vm makes
		expect 1 "$TRIBUF" load "$other"
		says 'was built for kernel'
	done
	expect 0 "$TRIBUF" load
	until_true test -c /dev/tribuf
}

test_nothing_is_left() {
	expect 0 "$TRIBUF" ls
	grep -F "command-test-$$" "$dir/out" && fail "left behind"
	return 0
}

# What a test leaves running ends by TERM, to leave nothing in turn; STOP is over first.
end_group() { # PID OF ITS FIRST PROCESS
	local i
	kill -TERM -- "-$1" && kill -CONT -- "-$1"
	for ((i = 0; i < 100; i++)); do
		kill -0 -- "-$1" || return
		sleep 0.05
	done
	kill -KILL -- "-$1"
} 2>/dev/null

run_test() { # NUMBER TEST: in a process group, with a folder and a channel of its own
	local i=$1 test=$2 from=$SECONDS status=0 dir ch pid
	dir=$(mktemp -d) ch=${prefix}command-test-$$-$i
	set -m
	"$test" &
	pid=$!
	{ sleep $((200 * patience)); echo "# longer than $((200 * patience)) s" >&2; kill -TERM -- -$pid; } >/dev/null &
	set +m
	wait $pid 2>/dev/null
	status=$?
	kill -TERM -- -$! 2>/dev/null
	end_group $pid
	[ $((SECONDS - from)) -lt 10 ] || echo "# ${test#test_}: $((SECONDS - from)) s"
	case $status in
	0) echo "ok $i ${test#test_}" ;;
	4) echo "ok $i ${test#test_} # SKIP $(cat "$dir/skip")" ;;
	*) echo "not ok $i ${test#test_}" ;;
	esac
	rm -rf "$dir"
}

run_tests() { # JOBS TEST...: so many at once
	local jobs=$1 test
	shift
	for test; do
		# It may tell of one that had ended before.
		while [ "$(jobs -pr | wc -l)" -ge "$jobs" ]; do wait -n; done
		number=$((number + 1))
		run_test $number "$test" >"$said/$number" 2>&1 &
	done
	wait
}

said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT
number=0
named=$(for name; do echo "test_${name#test_}"; done)
# These load and unload the module, or look at what others have left: alone, at the end.
alone='test_bench_measures test_doctor test_unload_says_who_uses_it test_load_and_unload test_load_again_claims_nothing test_load_says_why_it_cannot test_nothing_is_left'
beside=$(declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p' | grep -vxF "${alone// /$'\n'}")
# shellcheck disable=SC2086  # words on purpose
if [ -n "$named" ]; then
	run_tests 1 $named
else
	run_tests "$(nproc)" $beside
	run_tests 1 $alone
fi
echo "TAP version 13"
echo "1..$number"
cat $(seq -f "$said/%g" "$number")
count() { cat "$said"/* | grep -cE "$1"; }
echo "# Totals: pass:$(count '^ok [^#]*$') fail:$(count '^not ok') xfail:0 xpass:0 skip:$(count '^ok .*# SKIP') error:0 ($BACKEND)"
! grep -q '^not ok' "$said"/*
