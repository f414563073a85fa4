# SPDX-License-Identifier: GPL-2.0-only
# Print "passed failed skipped" of what one or more suites said in KTAP; "status" is
# what they ended with. A suite that ends before its plan is complete, has no plan,
# or says nothing of a failure that its status tells of, has failed.
/^1\.\.0.*# SKIP/	{ plan++; skipped++; next }
/^1\.\.[0-9]+/		{ plan += substr($1, 4) }
/^ok .*# SKIP/		{ skipped++; next }
/^ok /			{ passed++ }
/^not ok /		{ failed++ }
/^Bail out!/		{ failed++ }
END {
	if (!plan || passed + failed + skipped < plan || (status != 0 && status != 4 && !failed))
		failed++
	printf "%d %d %d\n", passed, failed, skipped
}
