/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* Between what "tribuf bench" measures (bench_rounds.c) and what it shows (bench.c). */
#ifndef TRIBUF_BENCH_H
#define TRIBUF_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How often a value came, to 1/64 of it. Any number of values takes no more memory. */
#define SPREAD_STEPS	64			/* per octave */
#define SPREAD_BUCKETS	(63 * SPREAD_STEPS)

struct spread {
	uint64_t count;
	uint32_t buckets[SPREAD_BUCKETS];
};

void spread_add(struct spread *s, double value);
double spread_at(const struct spread *s, double part);	/* 0.5: the median */
double spread_start(size_t bucket);			/* the least value that is in it */

/* Rounds of ours, each beside a round of the machine's limit; ns per call or one way. */
struct figure {
	struct spread cost, limit, ratio;
};

enum {
	BENCH_SPIN,		/* one way, both spin; limit: two cache lines */
	BENCH_SLEEP,		/* one way, the consumer sleeps; limit: a futex */
	BENCH_PUBLISH,		/* one thread; limit: a load and a compare-and-exchange */
	BENCH_BOTH,
	BENCH_NOTHING,
	BENCH_FIGURES,
};

struct bench {
	int cpus[2];			/* where the two processes ran */
	bool spins;			/* these are two: both can spin */
	struct figure figures[BENCH_FIGURES];
	struct spread spin, sleep;	/* ns of each frame alone, one way */
};

/* Fills @b for about @duration ns. Returns the exit status, after it has complained. */
int bench_run(struct bench *b, bool on_shm, int64_t duration);

#endif
