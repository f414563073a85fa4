// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A set's sleep by epoll, where there is no io_uring. Registrations are
 * edge-triggered and stay, so going to sleep costs nothing; but the kernel cannot
 * tell a registration from a sleeper, so producers ring once for each frame that
 * is really taken, even while we are awake.
 */
#define _GNU_SOURCE		/* epoll_pwait2() */
#include "set.h"

#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define SECOND	1000000000ll
#define BATCH	64
#define BATCHES	64		/* at once, or a flood of events could keep us here */

static int set_epoll_create(struct tribuf_set *set)
{
	set->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (set->epoll < 0)
		return fail(errno, "cannot make a set: %s", strerror(errno));
	return 0;
}

static void set_epoll_destroy(struct tribuf_set *set)
{
	close(set->epoll);
}

static int set_epoll_add(struct tribuf_set *set, struct member *m)
{
	/* As edges, all may be asked for: a level that stays is reported once. */
	struct epoll_event event = {
		.events = (uint32_t)poll_events(m->handle, m->events) | EPOLLRDHUP | EPOLLPRI |
			  EPOLLET,
		.data.ptr = m,
	};

	if (epoll_ctl(set->epoll, EPOLL_CTL_ADD, m->handle->fd, &event))
		return fail(errno, "cannot add the channel to the set: %s", strerror(errno));
	return 0;
}

static bool set_epoll_remove(struct tribuf_set *set, struct member *m)
{
	epoll_ctl(set->epoll, EPOLL_CTL_DEL, m->handle->fd, NULL);
	return false;
}

static int set_epoll_queue(struct tribuf_set *set, struct member *m)
{
	(void)set;
	m->queued = true;	/* it always is */
	return 0;
}

static int set_epoll_flush(struct tribuf_set *set)
{
	(void)set;
	return 0;
}

/* Take at most BATCH events, waiting for them until @timeout. How many, or -errno. */
static int take_events(struct tribuf_set *set, const struct timespec *timeout)
{
	struct epoll_event events[BATCH];
	int i, n = epoll_pwait2(set->epoll, events, BATCH, timeout, NULL);

	if (n < 0)
		return errno == EINTR ? fail(EINTR, "a signal came while waiting") :
		       fail(errno, "cannot wait on the set: %s", strerror(errno));
	for (i = 0; i < n; i++)
		wake_member(events[i].data.ptr, (int)events[i].events);
	return n;
}

/* Not one batch at each wait: those of all batches before are looked at each time. */
static int set_epoll_reap(struct tribuf_set *set)
{
	static const struct timespec zero;
	int i, n = BATCH;

	for (i = 0; i < BATCHES && n == BATCH; i++)
		n = take_events(set, &zero);
	return n < 0 ? n : 0;
}

static int set_epoll_sleep(struct tribuf_set *set, int64_t deadline)
{
	int64_t left = deadline == INT64_MAX ? 0 : deadline - now();
	struct timespec timeout = { left / SECOND, (long)(left % SECOND) };
	int n;

	if (left < 0)
		return 0;
	n = take_events(set, deadline == INT64_MAX ? NULL : &timeout);
	return n < 0 ? n : 0;
}

const struct sleeper epoll_sleeper = {
	.create = set_epoll_create,
	.destroy = set_epoll_destroy,
	.add = set_epoll_add,
	.remove = set_epoll_remove,
	.queue = set_epoll_queue,
	.flush = set_epoll_flush,
	.reap = set_epoll_reap,
	.sleep = set_epoll_sleep,
};
