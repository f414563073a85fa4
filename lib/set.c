// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Sets: one wait for thousands of channels.
 *
 * A channel that was reported stays in a list and is looked at, in its pages,
 * at the next wait; so it is reported for as long as it is ready, its producer
 * need not ring, and only those that were lately ready are looked at. When none of
 * them is, all are queued with the kernel, in one system call with the sleep.
 *
 * The list is gone through in turn: who was reported goes to its end. Those whom
 * the kernel reports meanwhile enter at its end too. So with a @max of 1 and all
 * channels busy, each comes before any comes twice.
 */
#define _GNU_SOURCE		/* POLL* */
#include "set.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

/*
 * In a set that never sleeps, because some channel is always ready, the others
 * must not pile up in the list. A member at which we have looked so often in vain
 * is queued, although we are awake. It has been quiet for that many waits; the
 * one ring that it may now cost its producer is the price.
 */
#define VAIN	32

static void unlink_awake(struct member *m)
{
	struct tribuf_set *set = m->set;

	*(m->previous ? &m->previous->next : &set->first) = m->next;
	*(m->next ? &m->next->previous : &set->last) = m->previous;
	m->awake = false;
	set->awake_count--;
}

static void append_awake(struct member *m)
{
	struct tribuf_set *set = m->set;

	m->next = NULL;
	m->previous = set->last;
	*(set->last ? &set->last->next : &set->first) = m;
	set->last = m;
	m->awake = true;
	set->awake_count++;
}

void free_member(struct member *m)
{
	*m->link = m->other;
	if (m->other)
		m->other->link = m->link;
	free(m);
}

void wake_member(struct member *m, int revents)
{
	if (revents >= 0)
		note_events(m->handle, revents);
	else
		m->error = revents;
	m->vain = 0;
	if (!m->awake)
		append_awake(m);
}

static int no_member(void)
{
	return fail(ENOENT, "the channel is not in this set: tribuf_set_add() it first");
}

static bool inherited(const struct tribuf_set *set)
{
	return set->process != this_process();
}

static int forked_set(void)
{
	return fail(ESTALE, "the set belongs to the process that made it: make another after fork()");
}

int tribuf_set_create(struct tribuf_set **created, unsigned int flags)
{
	struct tribuf_set *set;
	int err = -ENOTSUP;

	if (flags & ~TRIBUF_SET_EPOLL)
		return fail(EINVAL, "flags of a set are %#x: give 0 or TRIBUF_SET_EPOLL", flags);
	set = calloc(1, sizeof(*set));
	if (!set)
		return fail(ENOMEM, "out of memory");
	set->process = this_process();
	set->epoll = -1;
	if (!(flags & TRIBUF_SET_EPOLL)) {
		set->sleeper = &uring_sleeper;
		err = set->sleeper->create(set);
	}
	if (err == -ENOTSUP) {
		set->sleeper = &epoll_sleeper;
		err = set->sleeper->create(set);
	}
	if (err) {
		free(set);
		return err;
	}
	*created = set;
	return 0;
}

void tribuf_set_destroy(struct tribuf_set *set)
{
	struct member *m, *other;

	if (!set)
		return;
	set->sleeper->destroy(set);
	for (m = set->all; m; m = other) {
		other = m->other;
		if (m->handle)
			m->handle->member = NULL;
		free(m);
	}
	free(set);
}

static int check_add(const struct tribuf_set *set, struct tribuf *handle, unsigned int events)
{
	int mask = tribuf_poll_events(handle, events);

	if (mask < 0)
		return mask;
	if (handle_of(handle)->member)
		return fail(EEXIST, "the handle is in a set already: remove it there first");
	return inherited(set) ? forked_set() : 0;
}

int tribuf_set_add(struct tribuf_set *set, struct tribuf *handle, unsigned int events, void *data)
{
	int err = check_add(set, handle, events);
	struct member *m;

	if (err)
		return err;
	m = calloc(1, sizeof(*m));
	if (!m)
		return fail(ENOMEM, "out of memory");
	m->set = set;
	m->handle = handle_of(handle);
	m->data = data;
	m->events = events;
	err = set->sleeper->add(set, m);
	if (err) {
		free(m);
		return err;
	}
	m->other = set->all;
	m->link = &set->all;
	if (set->all)
		set->all->link = &m->other;
	set->all = m;
	m->handle->member = m;
	append_awake(m);
	set->members++;
	return 0;
}

void leave_set(struct handle *h)
{
	struct member *m = h->member;
	struct tribuf_set *set = m->set;

	h->member = NULL;
	if (m->awake)
		unlink_awake(m);
	set->members--;
	/* After a fork, the set that the kernel knows is the parent's. */
	if (!inherited(set) && set->sleeper->remove(set, m))
		m->handle = NULL;
	else
		free_member(m);
}

int tribuf_set_remove(struct tribuf_set *set, struct tribuf *handle)
{
	struct handle *h = handle_of(handle);

	if (inherited(set))
		return forked_set();
	if (!h->member || h->member->set != set)
		return no_member();
	leave_set(h);
	return 0;
}

/* Nothing was found at @m: should it rather be queued? */
static int set_aside(struct tribuf_set *set, struct member *m)
{
	int err = ++m->vain < VAIN ? 1 : set->sleeper->queue(set, m);

	if (err)
		append_awake(m);
	return err < 0 ? err : 0;
}

/* One turn through the list: fill @ready, return how many. */
static int collect(struct tribuf_set *set, struct tribuf_ready *ready, int max)
{
	size_t left = set->awake_count;
	int found = 0, err = 0;
	struct member *m;
	int bits;

	while (left-- && found < max && !err) {
		m = set->first;
		unlink_awake(m);
		bits = m->error ? m->error : look(m->handle, m->events);
		if (!bits) {
			err = set_aside(set, m);
			continue;
		}
		m->vain = 0;
		append_awake(m);
		ready[found].handle = &m->handle->t;
		ready[found].data = m->data;
		ready[found++].events = bits;
	}
	if (!err)
		err = set->sleeper->flush(set);
	return found ? found : err;
}

/* None of the members is ready: have the kernel watch them all, and sleep. */
static int sleep_all(struct tribuf_set *set, int64_t deadline)
{
	struct member *m;
	int err;

	while ((m = set->first)) {
		unlink_awake(m);
		err = set->sleeper->queue(set, m);
		if (err) {
			append_awake(m);
			return err;
		}
	}
	return set->sleeper->sleep(set, deadline);
}

static int check_set_wait(const struct tribuf_set *set, int max, int64_t timeout)
{
	if (inherited(set))
		return forked_set();
	if (max < 1)
		return fail(EINVAL, "room for %d ready channels: give room for at least 1", max);
	if (timeout < TRIBUF_FOREVER)
		return fail(EINVAL, "a timeout of %lld ns: give 0 or more, or TRIBUF_FOREVER",
			    (long long)timeout);
	if (timeout == TRIBUF_FOREVER && !set->members)
		return fail(EINVAL, "a wait without end on a set without channels: add one first");
	return 0;
}

int tribuf_set_wait(struct tribuf_set *set, struct tribuf_ready *ready, int max, int64_t timeout)
{
	int64_t deadline = INT64_MAX;
	int found = check_set_wait(set, max, timeout);

	if (found)
		return found;
	if (timeout > 0 && __builtin_add_overflow(now(), timeout, &deadline))
		deadline = INT64_MAX;
	for (;;) {
		found = set->sleeper->reap(set);
		if (!found)
			found = collect(set, ready, max);
		if (found || !timeout || (deadline != INT64_MAX && now() >= deadline))
			return found;
		found = sleep_all(set, deadline);
		if (found)
			return found;
	}
}
