// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The helper thread, one for each JavaScript environment that waits on channels
 * of shm, which have no descriptor: it sleeps on the futexes of all of them, and
 * on one of its own by which it is told of changes. It touches no channel: when a
 * word has changed, or after 100 ms because the killed wake nobody, the loop's
 * thread looks, and if need be adds the channel again.
 *
 * The kernel sleeps on 128 futexes at a time. If there are more, or the kernel is
 * older than 5.16, or a seccomp policy forbids it, the rest are looked at every few
 * milliseconds.
 */
#define _GNU_SOURCE		/* syscall() */
#include "addon.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FUTEXES		128		/* FUTEX_WAITV_MAX */
#define LONGEST		100000000ll	/* ns of a sleep */
#define REST		10000000ll	/* ns between looks at those that do not fit */
#define SECOND		1000000000ll
#define STACK		(128u << 10)

#ifndef SYS_futex_waitv
#define SYS_futex_waitv	449
#endif

/* The one whose times are of 64 bits, as ours are everywhere. */
#ifdef SYS_futex_time64
#define FUTEX_TIME64	SYS_futex_time64
#else
#define FUTEX_TIME64	SYS_futex
#endif

/* linux/futex.h has it since 5.16; headers may be older. */
struct waiter {
	uint64_t value;
	uint64_t address;
	uint32_t flags;
	uint32_t reserved;
};

#define WAITER_32_BITS	2u

struct sleeper {
	uv_async_t async;	/* first: libuv's callbacks get it */
	struct env *env;
	pthread_t thread;
	pthread_mutex_t lock;
	uint32_t changes;	/* the thread's own futex */
	bool end;
	/* Under @lock; of each channel in it likewise @place, @futex, @value, @fired. */
	struct channel **sleeping;
	size_t count, room;
	unsigned int waiting;	/* the loop's: channels added and not removed */
};

static void tell(struct sleeper *s)
{
	__atomic_add_fetch(&s->changes, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &s->changes, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* ---- the thread ---- */

static void fill(struct waiter *w, const uint32_t *address, uint32_t value, uint32_t flags)
{
	w->value = value;
	w->address = (uintptr_t)address;
	w->flags = WAITER_32_BITS | flags;
	w->reserved = 0;
}

/* How many futexes there are to sleep on, at least 1; @all: out: whether they fit. */
static unsigned int collect(struct sleeper *s, struct waiter *waiters, bool *all)
{
	unsigned int n = 1;
	size_t i;

	fill(&waiters[0], &s->changes, __atomic_load_n(&s->changes, __ATOMIC_ACQUIRE),
	     FUTEX_PRIVATE_FLAG);
	*all = true;
	for (i = 0; i < s->count; i++) {
		if (s->sleeping[i]->fired)
			continue;
		*all = n < FUTEXES;
		if (!*all)
			break;
		fill(&waiters[n++], s->sleeping[i]->futex, s->sleeping[i]->value, 0);
	}
	return n;
}

static struct timespec after(int64_t ns)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (t.tv_nsec + ns) / SECOND;
	t.tv_nsec = (t.tv_nsec + ns) % SECOND;
	return t;
}

/* 1: its time was over; 0: there was an event; -1: it was no sleep, nor will the next be. */
static int sleep_ended(long result)
{
	if (result >= 0 || errno == EAGAIN || errno == EINTR)
		return 0;
	return errno == ETIMEDOUT ? 1 : -1;
}

/* True: the time was over. */
static bool doze(const struct waiter *waiters, unsigned int n, bool all)
{
	static const struct timespec rest = { .tv_nsec = REST };
	struct timespec until = after(all ? LONGEST : REST);
	int ended = sleep_ended(syscall(SYS_futex_waitv, waiters, n, 0, n > 1 ? &until : NULL,
					CLOCK_MONOTONIC));

	if (ended < 0) {
		until = after(REST);
		ended = sleep_ended(syscall(FUTEX_TIME64, waiters[0].address,
					    FUTEX_WAIT_BITSET_PRIVATE, waiters[0].value,
					    n > 1 ? &until : NULL, NULL,
					    FUTEX_BITSET_MATCH_ANY));
	}
	if (ended < 0)
		nanosleep(&rest, NULL);
	return ended != 0;
}

/* Under the lock, so that no page goes away while its word is read. */
static bool fire(struct sleeper *s, bool all)
{
	bool any = false;
	size_t i;

	for (i = 0; i < s->count; i++) {
		struct channel *c = s->sleeping[i];

		if (c->fired || (!all && __atomic_load_n(c->futex, __ATOMIC_RELAXED) == c->value))
			continue;
		c->fired = true;
		any = true;
	}
	return any;
}

static void *sleep_for_all(void *data)
{
	struct waiter waiters[FUTEXES];
	struct sleeper *s = data;
	unsigned int n;
	bool all, over;

	for (;;) {
		pthread_mutex_lock(&s->lock);
		n = collect(s, waiters, &all);
		if (s->end)
			break;
		pthread_mutex_unlock(&s->lock);
		over = doze(waiters, n, all);
		pthread_mutex_lock(&s->lock);
		if (!s->end && fire(s, over))
			uv_async_send(&s->async);
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- the loop's side ---- */

static struct channel *take_fired(struct sleeper *s)
{
	struct channel *found = NULL;
	size_t i;

	pthread_mutex_lock(&s->lock);
	for (i = 0; i < s->count && !found; i++)
		if (s->sleeping[i]->fired)
			found = s->sleeping[i];
	pthread_mutex_unlock(&s->lock);
	if (found)
		sleeper_remove(found);
	return found;
}

static void on_async(uv_async_t *async)
{
	struct sleeper *s = (struct sleeper *)async;
	struct env *env = s->env;
	struct channel *c;
	int bits;

	while (!env->ending && (c = take_fired(s))) {
		bits = c->events ? sleep_for(c) : 0;
		if (bits)
			report(c, bits);
	}
}

static int start_thread(struct sleeper *s)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int err;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK);
	/* Signals are for the threads that expect them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&s->thread, &attributes, sleep_for_all, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return err;
}

static void sleeper_closed(uv_handle_t *handle)
{
	struct sleeper *s = (struct sleeper *)handle;
	struct env *env = s->env;

	pthread_mutex_destroy(&s->lock);
	free(s->sleeping);
	free(s);
	handle_closed(env);
}

/* 0, or an error. */
static int make_sleeper(struct env *env)
{
	struct sleeper *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return cannot_wait(env, -ENOMEM, "out of memory");
	s->env = env;
	pthread_mutex_init(&s->lock, NULL);
	err = uv_async_init(env->loop, &s->async, on_async);
	if (err) {
		free(s);
		return cannot_wait(env, err, "Node's loop cannot be woken by a helper thread");
	}
	env->handles++;
	uv_unref((uv_handle_t *)&s->async);
	err = start_thread(s);
	if (err) {
		uv_close((uv_handle_t *)&s->async, sleeper_closed);
		return cannot_wait(env, -err, "the helper thread that sleeps for shm channels could not be started: allow more threads (ulimit -u)");
	}
	env->sleeper = s;
	return 0;
}

static bool make_room(struct sleeper *s)
{
	size_t room = s->room ? s->room * 2 : 16, i;
	struct channel **grown;

	if (s->count < s->room)
		return true;
	grown = realloc(s->sleeping, room * sizeof(*grown));
	if (!grown)
		return false;
	s->sleeping = grown;
	s->room = room;
	for (i = 0; i < s->count; i++)
		grown[i]->place = &grown[i];
	return true;
}

/* 0, or an error. The loop lives as long as somebody sleeps. */
static int sleeper_add(struct channel *c, uint32_t *futex, uint32_t value)
{
	struct env *env = c->env;
	struct sleeper *s;
	bool added;
	int err;

	sleeper_remove(c);
	err = env->sleeper ? 0 : make_sleeper(env);
	if (err)
		return err;
	s = env->sleeper;
	pthread_mutex_lock(&s->lock);
	added = make_room(s);
	if (added) {
		c->futex = futex;
		c->value = value;
		c->fired = false;
		c->place = &s->sleeping[s->count++];
		*c->place = c;
	}
	pthread_mutex_unlock(&s->lock);
	if (!added)
		return cannot_wait(env, -ENOMEM, "out of memory");
	if (!s->waiting++)
		uv_ref((uv_handle_t *)&s->async);
	tell(s);
	return 0;
}

/* What of c->events holds now, or an error; 0: nothing does, the helper sleeps for it. */
int sleep_for(struct channel *c)
{
	uint32_t *futex, value;
	int bits = tribuf_arm(c->t, c->events, &futex, &value);

	return bits ? bits : sleeper_add(c, futex, value);
}

void sleeper_remove(struct channel *c)
{
	struct sleeper *s = c->env->sleeper;
	struct channel *last;

	if (!c->place)
		return;
	pthread_mutex_lock(&s->lock);
	last = s->sleeping[--s->count];
	*c->place = last;
	last->place = c->place;
	c->place = NULL;
	pthread_mutex_unlock(&s->lock);
	if (!--s->waiting)
		uv_unref((uv_handle_t *)&s->async);
}

/* Nobody is woken any more, and no word looked at. */
void sleeper_stop(struct sleeper *s)
{
	pthread_mutex_lock(&s->lock);
	s->end = true;
	pthread_mutex_unlock(&s->lock);
	tell(s);
	pthread_join(s->thread, NULL);
}

void sleeper_end(struct env *env)
{
	struct sleeper *s = env->sleeper;

	if (!s)
		return;
	sleeper_stop(s);
	env->sleeper = NULL;
	uv_close((uv_handle_t *)&s->async, sleeper_closed);
}
