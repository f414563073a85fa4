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
 */
#define SPIN_MAX	150000

/*
 * A wait that would have ended within that time gives a point, one that would not
 * takes three; from SPINNING points on it is tried. So one frame in four may be
 * late, and a consumer that falls idle spins in vain twice at most, then no more.
 */
#define POINTS_MAX	8
#define POINTS_OFF	3
#define SPINNING	4

/*
 * Where frames are that near and yet do not come while we spin, spinning is what keeps
 * them: the producer is to run on this very CPU. After three spins in vain on end, the
 * next try comes 16 waits later, and twice as many after each further one.
 */
#define VAIN_LIMIT	3
#define VAIN_MAX	9		/* 1024 waits */

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

	if (h->pending || s->points < SPINNING)
		return false;
	if (s->skipped) {
		s->skipped--;
		return false;
	}
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

static void learn_in_vain(struct spin *s)
{
	if (s->vain < VAIN_MAX)
		s->vain++;
	s->skipped = s->vain < VAIN_LIMIT ? 0 : 2u << s->vain;
	/* Have we been left with one CPU since? */
	s->checked = 0;
}

bool spin(struct handle *h, int64_t start, int64_t deadline)
{
	int64_t end = start + SPIN_MAX;

	if (!pays(h))
		return false;
	if (look_until(h, end < deadline ? end : deadline)) {
		h->spin.vain = 0;
		return true;
	}
	if (end <= deadline)
		learn_in_vain(&h->spin);
	return false;
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
		apart = period(s, tribuf_word_count(__atomic_load_n(&h->state->word, __ATOMIC_RELAXED)),
			       end);
		time = apart < time ? apart : time;
	}
	if (time > SPIN_MAX)
		s->points -= s->points < POINTS_OFF ? s->points : POINTS_OFF;
	else if (s->points < POINTS_MAX)
		s->points++;
}

void spin_in_vain(struct handle *h)
{
	struct spin *s = &h->spin;

	s->points -= s->points < POINTS_OFF ? s->points : POINTS_OFF;
	s->end = 0;
}
