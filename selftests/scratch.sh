# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# For scripts that build this tree differently from how it is: sourced by
# selftests/mistakes/run, coverage, sanitize.

# With a short history TSan forgets the stacks that the suppressions are told by.
export TSAN_OPTIONS="suppressions=$PWD/selftests/tsan.supp history_size=7 exitcode=66"

# A copy of the tree as it is in $2, what git does not track yet included. Only
# what differs is written, so that make builds no more than it must.
scratch_copy() { # TREE COPY
	mkdir -p "$2"
	git -C "$1" ls-files -z --cached --others --exclude-standard |
		while IFS= read -rd '' file; do
			[ -f "$1/$file" ] || { rm -f "$2/$file"; continue; }
			cmp -s "$1/$file" "$2/$file" && continue
			mkdir -p "$2/$(dirname "$file")"
			cp -p "$1/$file" "$2/$file"
			# Taken back to an older state: not older than what was built from it.
			touch "$2/$file"
		done
	(cd "$2" && find . -path ./build -prune -o -type f -print) | while IFS= read -r file; do
		[ -e "$1/$file" ] || rm -f "$2/$file"
	done
}

# Suites whose name begins with one of the words, without the folder.
suites() { # TREE WORD...
	local tree=$1 word file; shift
	for word; do
		for file in "$tree"/selftests/"$word"*_test.c; do
			[ ! -e "$file" ] || basename "$file" .c
		done
	done
}
