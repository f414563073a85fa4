# SPDX-License-Identifier: GPL-2.0-only
# What a kernel's log has to complain of: number and text of each such line. For
# tools/vm and whoever else judges a guest by its log.
#
# Case matters: a clean boot has lines with "warning" and "report a bug". By KCSAN's
# strict rules the kernel itself has data races in plenty: one is ours if the module
# made either access, or called the function that did. One is by design: the core looks
# at a page table's entry without its lock, then again under it (handle_pte_fault()),
# and whoever sets one, be it the core itself, races with the first look.

BEGIN {
	complaint = "WARNING:|BUG: |Oops|KASAN:|UBSAN:|Kernel panic|general protection fault|" \
		"possible [a-z ]*(locking|inversion|deadlock)|inconsistent lock state|" \
		"suspicious RCU|INFO: (task|rcu)|self-detected stall|detected stalls|" \
		"kmemleak: [0-9]+ new|unreferenced object|refcount_t:|Bad page|held lock freed|" \
		"still has locks|lock held when returning|DEBUG_LOCKS_WARN|blocked for more than"
	ours = "\\[tribuf\\]"
	by_design = "data-race in __handle_mm_fault / tribuf_guard_set_ptes "
}

{ sub(/\r$/, "") }

$0 ~ by_design { race = 0; next }

/BUG: KCSAN:/ {
	title = FNR ":" $0
	race = $0 !~ ours	# the accesses tell
	depth = 99
	if (!race)
		print title
	next
}

$0 ~ complaint { print FNR ":" $0; next }

/Reported by Kernel Concurrency Sanitizer/ { race = 0 }

# Each access has a stack of its own; its first line is where it was made.
/ of [0-9]+ bytes by / { depth = 0; next }

race && ++depth <= 2 && $0 ~ ours {
	print title
	race = 0
}
