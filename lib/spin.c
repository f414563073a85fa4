// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Before tribuf_wait() sleeps, it may look again and again for a while: what
 * comes within a few microseconds is then had without two switches of context,
 * and the peer need not ring. Whether that pays is told by how long the last
 * waits took; on one CPU it never does, since the peer cannot run meanwhile.
 */
#define _GNU_SOURCE		/* sched_getaffinity() */
#include "internal.h"

#include <sched.h>

/*
 * The longest that a wait may spin, in ns: a producer at 10 kHz publishes every
 * 100 us, and what its frames may be late must fit in too, or nothing is gained.
 * Who waits longer than this on average does not spin at all, so a consumer that
 * falls idle loses two such spins at most, and then none.
 */
#define SPIN_MAX	150000
#define LONGEST		(4ll * SPIN_MAX)	/* what a long wait counts as, however long */
#define LOOKS		16		/* between two looks at the clock */
#define ALONE_CHECK	64		/* waits, until we look whether we are still alone */

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");	/* "yield" does nothing on most cores */
#else
	__asm__ volatile("" ::: "memory");
#endif
}

/* May this thread run on one CPU only? */
static bool alone(void)
{
	cpu_set_t set;

	/* It fails with EINVAL where there are more CPUs than a set has bits. */
	return !sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) < 2;
}

static bool pays(struct handle *h)
{
	struct spin *s = &h->spin;

	if (h->pending || !s->expected || s->expected > SPIN_MAX)
		return false;
	if (!s->checked) {
		s->alone = alone();
		s->checked = ALONE_CHECK;
	}
	s->checked--;
	return !s->alone;
}

/* Is there something to look at, within @end? A spoilt word is, too. */
static bool look_until(struct handle *h, int64_t end)
{
	uint32_t word;
	int i;

	do {
		for (i = 0; i < LOOKS; i++) {
			word = __atomic_load_n(&h->state->word, __ATOMIC_RELAXED);
			if (!tribuf_word_valid(word) || ready(h, word))
				return true;
			relax();
		}
	} while (now() < end);
	return false;
}

bool spin(struct handle *h, int64_t start, int64_t deadline)
{
	int64_t end = start + SPIN_MAX;
	bool came;

	if (!pays(h))
		return false;
	came = look_until(h, end < deadline ? end : deadline);
	/* Have we been left with one CPU since? */
	if (!came)
		h->spin.checked = 0;
	return came;
}

/*
 * How far apart the frames are that came since the last wait ended. After a sleep
 * that is nearer the truth than the wait's own time, of which being woken may be
 * the greater part.
 */
static int64_t period(struct spin *s, uint32_t count, int64_t end)
{
	uint32_t frames = (count - s->count) & (~0u >> TRIBUF_COUNT_SHIFT);
	int64_t since = s->end;

	s->count = count;
	s->end = end;
	return since && frames ? (end - since) / frames : INT64_MAX;
}

void spin_learn(struct handle *h, int64_t start, int64_t end)
{
	struct spin *s = &h->spin;
	int64_t apart, time = end - start;

	if (h->role != TRIBUF_PRODUCER && !h->pending) {
		apart = period(s, tribuf_word_count(h->state->word), end);
		time = apart < time ? apart : time;
	}
	time = time < 1 ? 1 : time > LONGEST ? LONGEST : time;
	/* The mean of late: a quarter of each new one. */
	s->expected = s->expected ? s->expected + (time - s->expected) / 4 : time;
}

void spin_in_vain(struct handle *h)
{
	h->spin.expected = LONGEST;
	h->spin.end = 0;
}
