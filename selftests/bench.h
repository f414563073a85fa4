/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs that measure share, and suites have in their harness. */
#ifndef SELFTESTS_BENCH_H
#define SELFTESTS_BENCH_H

#include "lib.h"

/* What has to work for there to be anything to measure. */
#define must(condition) do {						\
	if (!(condition)) {						\
		fprintf(stderr, "%s:%d: %s does not hold: %s\n", __FILE__, __LINE__,	\
			#condition, strerror(errno));			\
		exit(2);						\
	}								\
} while (0)

#endif /* SELFTESTS_BENCH_H */
