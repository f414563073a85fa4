/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ways in which Linux lets a program wait for a channel, behind one table, so
 * that each case runs on all of them; and a watchdog that tells a lost wake-up
 * from a machine that is slow.
 */
#ifndef SELFTESTS_WAIT_H
#define SELFTESTS_WAIT_H

#include <pthread.h>
#include <sys/select.h>

#include "lib.h"

#include <tribuf_uring.h>

/* In FIXTURE_SETUP; 255 is a skip, which this harness else only allows in a test. */
#define REQUIRE_DEVICE() do {						\
	if (access(DEVICE, F_OK))					\
		SKIP(_exit(255), "no " DEVICE ": load the module (tribuf load)");	\
} while (0)

#define LONG	5000		/* ms; nothing takes as long if it works */

enum way {
	WAY_WAIT, WAY_POLL, WAY_PPOLL, WAY_SELECT, WAY_LEVEL, WAY_EDGE, WAY_ONESHOT, WAY_EXCLUSIVE,
	WAY_NESTED, WAY_READ, WAY_URING_POLL, WAY_URING_MULTISHOT, WAY_URING_READ, WAY_SET,
	WAY_SET_EPOLL,
};

#define WAY(fixture, name, value) FIXTURE_VARIANT_ADD(fixture, name) { .way = value }

/* They leave nothing behind with the kernel when they return. */
#define PASSING_WAYS(fixture)						\
	FIXTURE_VARIANT(fixture) { enum way way; };			\
	WAY(fixture, wait, WAY_WAIT);					\
	WAY(fixture, poll, WAY_POLL);					\
	WAY(fixture, ppoll, WAY_PPOLL);					\
	WAY(fixture, select, WAY_SELECT);				\
	WAY(fixture, read, WAY_READ);					\
	WAY(fixture, uring_poll, WAY_URING_POLL);			\
	WAY(fixture, uring_read, WAY_URING_READ);			\
	WAY(fixture, set, WAY_SET)

#define ALL_WAYS(fixture)						\
	PASSING_WAYS(fixture);						\
	WAY(fixture, epoll_level, WAY_LEVEL);				\
	WAY(fixture, epoll_edge, WAY_EDGE);				\
	WAY(fixture, epoll_oneshot, WAY_ONESHOT);			\
	WAY(fixture, epoll_exclusive, WAY_EXCLUSIVE);			\
	WAY(fixture, epoll_nested, WAY_NESTED);				\
	WAY(fixture, uring_multishot, WAY_URING_MULTISHOT);		\
	WAY(fixture, set_epoll, WAY_SET_EPOLL)

/* How often the kernel was asked to wake who sleeps on @t's channel. */
helper uint64_t rings_of(struct tribuf *t)
{
	struct tribuf_info_args info;

	return tribuf_info(t, &info) ? 0 : info.kernel_rings;
}

/* A registration stays queued while its owner is awake: it looks like a sleeper. */
helper bool way_stays(enum way way)
{
	return way == WAY_LEVEL || way == WAY_EDGE || way == WAY_ONESHOT || way == WAY_EXCLUSIVE ||
	       way == WAY_NESTED || way == WAY_URING_MULTISHOT || way == WAY_SET_EPOLL;
}

/* It takes the frame as well. */
helper bool way_reads(enum way way)
{
	return way == WAY_READ || way == WAY_URING_READ;
}

struct waiter {
	enum way way;
	struct tribuf *t;
	int fd;
	short events;			/* POLLIN, or POLLOUT for a producer */
	int epoll, inner;
	uint32_t epoll_events;
	struct io_uring ring;
	bool ring_made, queued;
	struct tribuf_set *set;
	struct tribuf_acquired acquired;
};

helper int waiter_epoll(struct waiter *w)
{
	static const uint32_t flags[] = {
		[WAY_EDGE] = EPOLLET, [WAY_ONESHOT] = EPOLLONESHOT,
		[WAY_EXCLUSIVE] = EPOLLEXCLUSIVE, [WAY_NESTED] = EPOLLET,
	};
	struct epoll_event event = { .events = (uint32_t)w->events | flags[w->way] }, inner = event;

	w->epoll_events = event.events;
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->way != WAY_NESTED)
		return epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->fd, &event);
	/* What the inner one is asked for, the outer one sees as "readable". */
	w->inner = epoll_create1(EPOLL_CLOEXEC);
	event.events = EPOLLIN;
	return epoll_ctl(w->inner, EPOLL_CTL_ADD, w->fd, &inner) ?:
	       epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->inner, &event);
}

helper int waiter_open(struct waiter *w, enum way way, struct tribuf *t, short events)
{
	*w = (struct waiter){ .way = way, .t = t, .fd = tribuf_fd(t), .events = events,
			      .epoll = -1, .inner = -1 };
	switch (way) {
	case WAY_LEVEL:
	case WAY_EDGE:
	case WAY_ONESHOT:
	case WAY_EXCLUSIVE:
	case WAY_NESTED:
		return waiter_epoll(w);
	case WAY_URING_POLL:
	case WAY_URING_MULTISHOT:
	case WAY_URING_READ:
		w->ring_made = true;
		return io_uring_queue_init(8, &w->ring, 0);
	case WAY_SET:
	case WAY_SET_EPOLL:
		return tribuf_set_create(&w->set, way == WAY_SET ? 0 : TRIBUF_SET_EPOLL) ?:
		       tribuf_set_add(w->set, t, TRIBUF_READY, w);
	default:
		return 0;
	}
}

helper void waiter_close(struct waiter *w)
{
	if (w->ring_made)
		io_uring_queue_exit(&w->ring);
	if (w->epoll >= 0)
		close(w->epoll);
	if (w->inner >= 0)
		close(w->inner);
	tribuf_set_destroy(w->set);
	*w = (struct waiter){ .epoll = -1, .inner = -1 };
}

helper int sleep_in_epoll(struct waiter *w, int ms)
{
	struct epoll_event event = { .events = w->epoll_events }, inner;
	int n;

	/* Disabled since its last event. */
	if (w->way == WAY_ONESHOT && epoll_ctl(w->epoll, EPOLL_CTL_MOD, w->fd, &event))
		return -errno;
	n = negative_errno(epoll_wait(w->epoll, &event, 1, ms));
	if (n > 0 && w->way == WAY_NESTED)
		n = negative_errno(epoll_wait(w->inner, &inner, 1, 0));
	return n < 0 ? n : 0;
}

helper int sleep_in_select(struct waiter *w, int ms)
{
	struct timeval timeout = { ms / 1000, ms % 1000 * 1000 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(w->fd, &set);
	return negative_errno(select(w->fd + 1, w->events & POLLIN ? &set : NULL,
				     w->events & POLLOUT ? &set : NULL, NULL, &timeout));
}

helper int prepare_in_uring(struct waiter *w)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

	switch (w->way) {
	case WAY_URING_POLL:
		return tribuf_uring_wait_once(sqe, w->t, TRIBUF_READY);
	case WAY_URING_MULTISHOT:
		return tribuf_uring_wait(sqe, w->t, TRIBUF_READY);
	default:
		return tribuf_uring_read(sqe, w->t, &w->acquired);
	}
}

/* What @cqe says. 1: a read has taken @frame. */
helper int take_answer(struct waiter *w, const struct io_uring_cqe *cqe, struct tribuf_frame *frame)
{
	int n;

	w->queued = tribuf_uring_queued(cqe);
	if (w->way == WAY_URING_READ)
		return tribuf_uring_frame(w->t, &w->acquired, cqe, frame);
	n = tribuf_uring_woken(w->t, TRIBUF_READY, cqe);
	return n < 0 ? n : 0;
}

helper int sleep_in_uring(struct waiter *w, int ms, struct tribuf_frame *frame)
{
	struct __kernel_timespec timeout = { ms / 1000, ms % 1000 * (long long)NS_PER_MS };
	struct io_uring_cqe *cqe;
	int n;

	/* Again, if a thread that is no more had queued it. */
	do {
		n = w->queued ? 0 : prepare_in_uring(w);
		if (n)
			return n;
		w->queued = true;
		cqe = NULL;
		n = io_uring_submit_and_wait_timeout(&w->ring, &cqe, 1, &timeout, NULL);
		if (!cqe)
			return n == -ETIME || n > 0 ? 0 : n;
		n = take_answer(w, cqe, frame);
		io_uring_cqe_seen(&w->ring, cqe);
	} while (n == -ECANCELED);
	return n;
}

helper int sleep_in_read(struct waiter *w, struct tribuf_frame *frame)
{
	int n = negative_errno(read(w->fd, &w->acquired, sizeof(w->acquired)));

	if (n > 0)
		n = tribuf_accept(w->t, &w->acquired, frame) ?: 1;
	return n;
}

/* Sleep, for @ms at most but in read(). 1: @frame was taken, 0: look; or -errno. */
helper int waiter_sleep(struct waiter *w, int ms, struct tribuf_frame *frame)
{
	struct timespec timeout = { ms / 1000, ms % 1000 * (long)NS_PER_MS };
	struct pollfd p = { .fd = w->fd, .events = w->events };
	struct tribuf_ready ready;
	int n;

	switch (w->way) {
	case WAY_WAIT:
		n = tribuf_wait(w->t, TRIBUF_READY, ms * (int64_t)NS_PER_MS);
		break;
	case WAY_POLL:
		n = negative_errno(poll(&p, 1, ms));
		break;
	case WAY_PPOLL:
		n = negative_errno(ppoll(&p, 1, &timeout, NULL));
		break;
	case WAY_SELECT:
		n = sleep_in_select(w, ms);
		break;
	case WAY_SET:
	case WAY_SET_EPOLL:
		n = tribuf_set_wait(w->set, &ready, 1, ms * (int64_t)NS_PER_MS);
		break;
	case WAY_READ:
		return sleep_in_read(w, frame);
	case WAY_URING_POLL:
	case WAY_URING_MULTISHOT:
	case WAY_URING_READ:
		return sleep_in_uring(w, ms, frame);
	default:
		return sleep_in_epoll(w, ms);
	}
	return n < 0 ? n : 0;
}

/*
 * The watchdog: nobody may sleep for a second with what they wait for in front of
 * them. Seconds are counted in looks, which stop when the machine does.
 */
#define LOOK_MS		10
#define LOOKS		100

struct watchdog {
	const struct tribuf *watched;	/* a handle with the state word mapped */
	uint32_t fresh;			/* FRESH or 0: what the sleeper waits for */
	unsigned long sleeps;		/* of the sleeper: odd while it sleeps */
	bool stop;
	unsigned int lost;		/* lost wake-ups that were seen */
	pid_t victim;			/* killed then, so that the sleeper wakes */
	pthread_t thread;
};

helper void *watchdog_run(void *arg)
{
	struct watchdog *dog = arg;
	unsigned long sleeps, before = 0;
	uint32_t word;
	int looks = 0;

	while (!__atomic_load_n(&dog->stop, __ATOMIC_RELAXED)) {
		sleep_ms(LOOK_MS);
		sleeps = __atomic_load_n(&dog->sleeps, __ATOMIC_ACQUIRE);
		word = __atomic_load_n(dog->watched->word, __ATOMIC_ACQUIRE);
		if (!(sleeps & 1) || sleeps != before || (word & TRIBUF_FRESH) != dog->fresh)
			looks = 0;
		before = sleeps;
		if (++looks < LOOKS)
			continue;
		dog->lost++;
		kill(dog->victim, SIGKILL);
		break;
	}
	return NULL;
}

helper int watchdog_start(struct watchdog *dog, const struct tribuf *watched, uint32_t fresh,
			  pid_t victim)
{
	*dog = (struct watchdog){ .watched = watched, .fresh = fresh, .victim = victim };
	return pthread_create(&dog->thread, NULL, watchdog_run, dog);
}

/* How many wake-ups were lost. */
helper unsigned int watchdog_stop(struct watchdog *dog)
{
	__atomic_store_n(&dog->stop, true, __ATOMIC_RELAXED);
	pthread_join(dog->thread, NULL);
	return dog->lost;
}

/* Be busy for up to @ns. */
helper void work(uint64_t *state, uint64_t ns)
{
	uint64_t end = now() + chance(state) % ns;

	while (now() < end)
		;
}

#endif /* SELFTESTS_WAIT_H */
