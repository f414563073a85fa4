/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long a call took of the time in which the machine ran at all. An emulated
 * machine on a busy host stands still for hundreds of milliseconds, and its own
 * clock goes on. The caller runs before other programs, and a thread of a priority
 * still higher beats on the same processor: a beat that comes late is time that the
 * machine took, not the call. Where such priorities are not to be had, both are late.
 */
#ifndef SELFTESTS_METRONOME_H
#define SELFTESTS_METRONOME_H

#include "common.h"

#include <pthread.h>

#define BEAT		(5 * NS_PER_MS)
#define CALL_LIMIT	(100 * NS_PER_MS)	/* that a peer may delay a call for, at most */

/* What watches each access and each lock makes everything ten times as slow. */
helper uint64_t call_limit(void)
{
	return debug_kernel() ? 10 * CALL_LIMIT : CALL_LIMIT;
}

struct metronome {
	pthread_t thread;
	cpu_set_t allowed;	/* where the caller was allowed to run before */
	uint64_t stolen;	/* ns that the machine stood still, so far */
	bool stop;

	uint64_t limit;		/* ns, of a call */
	unsigned long calls, late;
	uint64_t longest;	/* ns, of a call */
};

helper void *beat(void *arg)
{
	struct sched_param first = { .sched_priority = 2 };
	struct metronome *m = arg;

	sched_setscheduler(0, SCHED_FIFO, &first);
	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		uint64_t began = now(), took;

		sleep_ns(BEAT);
		took = now() - began;
		if (took > 2 * BEAT)
			__atomic_add_fetch(&m->stolen, took - BEAT, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Threads that are to run beside the caller are started before: its place is inherited. */
helper int metronome_start(struct metronome *m)
{
	struct sched_param before_others = { .sched_priority = 1 };

	*m = (struct metronome){ .limit = call_limit() };
	sched_getaffinity(0, sizeof(m->allowed), &m->allowed);
	pin_to_cpu(sched_getcpu());
	if (CPU_COUNT(&m->allowed) > 1)		/* or nobody else would run */
		sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &before_others);
	return -pthread_create(&m->thread, NULL, beat, m);
}

helper void metronome_stop(struct metronome *m)
{
	__atomic_store_n(&m->stop, true, __ATOMIC_RELAXED);
	pthread_join(m->thread, NULL);
	sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 0 });
	sched_setaffinity(0, sizeof(m->allowed), &m->allowed);
	printf("# %lu calls, the longest %.1f ms; the machine stood still for %.1f ms\n", m->calls,
	       (double)m->longest / NS_PER_MS, (double)m->stolen / NS_PER_MS);
	fflush(stdout);
}

helper uint64_t metronome_stolen(const struct metronome *m)
{
	return __atomic_load_n(&m->stolen, __ATOMIC_RELAXED);
}

/* A call that began at @began and when @stolen was so much has ended. */
helper void metronome_count(struct metronome *m, uint64_t began, uint64_t stolen)
{
	uint64_t took = now() - began;

	m->calls++;
	if (took > m->limit) {
		sleep_ns(4 * BEAT);	/* the beat that was due comes, and is counted */
		stolen = metronome_stolen(m) - stolen;
		took -= stolen < took ? stolen : took;
		m->late += took > m->limit;
	}
	m->longest = took > m->longest ? took : m->longest;
}

/* What @call answers; counted as late if it took longer than the limit. */
#define in_time(metronome, call) ({					\
	uint64_t __stolen = metronome_stolen(metronome);		\
	uint64_t __began = now();					\
	long __answer = (long)(call);					\
									\
	metronome_count(metronome, __began, __stolen);			\
	__answer;							\
})

#endif /* SELFTESTS_METRONOME_H */
