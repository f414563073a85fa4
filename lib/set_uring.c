// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A set's sleep by io_uring: a one-shot poll for each member that is not queued
 * already, all in the system call that sleeps. A poll that has fired is queued
 * again at the next sleep only, so that the producer of a channel whose owner is
 * awake finds nobody to ring.
 *
 * io_uring reports that a peer is gone whether it was asked or not, and a one-shot
 * poll at once and each time. So who has lost its peer is given a multishot poll, which
 * tells of what happens; with the first thing that is not about that it is given up.
 *
 * The ring has none of the flags that bind it to one thread: a set serves one
 * thread at a time, but not the same for ever. Polls that a thread leaves behind
 * when it exits are cancelled by the kernel, and queued again here.
 */
#define _GNU_SOURCE		/* POLLRDHUP */
#include "set.h"

#ifdef HAVE_LIBURING

#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define SECOND		1000000000ll
/*
 * Polls submitted at once, and answers that the ring has room for. Should more
 * come before we look, the kernel keeps them in a list (IORING_FEAT_NODROP).
 */
#define SUBMISSIONS	256
#define COMPLETIONS	4096
/* s; with no limit at all liburing would go on after a signal. */
#define FOREVER		(1ll << 40)
#define NEEDED		(IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP)

struct uring {
	struct io_uring ring;
};

static int set_uring_create(struct tribuf_set *set)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL,
		.cq_entries = COMPLETIONS,
	};
	int err;

	set->uring = malloc(sizeof(*set->uring));
	if (!set->uring)
		return fail(ENOMEM, "out of memory");
	err = io_uring_queue_init_params(SUBMISSIONS, &set->uring->ring, &params);
	if (!err && (params.features & NEEDED) == NEEDED)
		return 0;
	if (!err)
		io_uring_queue_exit(&set->uring->ring);
	free(set->uring);
	set->uring = NULL;
	if (err == -EMFILE || err == -ENFILE || err == -ENOMEM)
		return fail(-err, "cannot make a set: %s", strerror(-err));
	return -ENOTSUP;	/* too old, not compiled in, or forbidden */
}

/* Cancels what is queued; the descriptors are free when it returns. */
static void set_uring_destroy(struct tribuf_set *set)
{
	io_uring_queue_exit(&set->uring->ring);
	free(set->uring);
}

static int set_uring_add(struct tribuf_set *set, struct member *m)
{
	(void)set;
	(void)m;
	return 0;
}

static int set_uring_flush(struct tribuf_set *set)
{
	int n;

	if (!io_uring_sq_ready(&set->uring->ring))
		return 0;
	n = io_uring_submit(&set->uring->ring);
	return n < 0 ? fail(-n, "cannot queue a poll: %s", strerror(-n)) : 0;
}

/* NULL: no room could be made; explained. */
static struct io_uring_sqe *get_sqe(struct tribuf_set *set)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&set->uring->ring);

	if (sqe || set_uring_flush(set))
		return sqe;
	return io_uring_get_sqe(&set->uring->ring);
}

static int set_uring_queue(struct tribuf_set *set, struct member *m)
{
	unsigned int mask = (unsigned int)poll_events(m->handle, m->events);
	struct io_uring_sqe *sqe;

	if (m->queued)		/* multishot: it stays, or its end is on the way */
		return 0;
	sqe = get_sqe(set);
	if (!sqe)
		return fail(ENOMEM, "the kernel takes no more polls: it is short of memory");
	if (peer_is_gone(m->handle))
		io_uring_prep_poll_multishot(sqe, m->handle->fd, mask);
	else
		io_uring_prep_poll_add(sqe, m->handle->fd, mask);
	io_uring_sqe_set_data(sqe, m);
	m->queued = true;
	return 0;
}

/* End the poll of @m; its last answer says so. False: there is no room to ask for it. */
static bool cancel(struct member *m)
{
	struct io_uring_sqe *sqe = get_sqe(m->set);

	if (!sqe)
		return false;
	io_uring_prep_poll_remove(sqe, (uintptr_t)m);
	io_uring_sqe_set_data(sqe, NULL);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	return true;
}

static void complete(const struct io_uring_cqe *cqe)
{
	struct member *m = io_uring_cqe_get_data(cqe);

	if (!m)			/* a removal that had nothing to remove any more */
		return;
	m->queued = cqe->flags & IORING_CQE_F_MORE;
	if (!m->handle) {
		if (!m->queued)
			free_member(m);
		return;
	}
	if (m->queued && cqe->res & ~POLLRDHUP)
		cancel(m);
	wake_member(m, cqe->res == -ECANCELED ? 0 : cqe->res);
}

/* No system call, but to fetch answers that the ring had no room for. */
static int set_uring_reap(struct tribuf_set *set)
{
	struct io_uring_cqe *cqes[64];
	unsigned int i, n, rounds = COMPLETIONS / 64;

	do {
		n = io_uring_peek_batch_cqe(&set->uring->ring, cqes, 64);
		for (i = 0; i < n; i++)
			complete(cqes[i]);
		io_uring_cq_advance(&set->uring->ring, n);
	} while (n == 64 && --rounds);
	return 0;
}

/* The poll holds on to the descriptor, whose owner may be about to close it. */
static bool set_uring_remove(struct tribuf_set *set, struct member *m)
{
	if (!m->queued)
		return false;
	if (cancel(m))
		io_uring_submit_and_get_events(&set->uring->ring);
	return true;
}

static int set_uring_sleep(struct tribuf_set *set, int64_t deadline)
{
	struct io_uring *ring = &set->uring->ring;
	int64_t left = deadline == INT64_MAX ? 0 : deadline - now();
	struct __kernel_timespec timeout = { left / SECOND, left % SECOND };
	struct io_uring_cqe *cqe = NULL;
	int n;

	if (deadline == INT64_MAX)
		timeout.tv_sec = FOREVER;
	else if (left < 0)
		return set_uring_flush(set);
	n = io_uring_submit_and_wait_timeout(ring, &cqe, 1, &timeout, NULL);
	if (cqe || n == -ETIME || n == -EBUSY)
		return 0;
	if (n < 0 && n != -EINTR)
		return fail(-n, "cannot wait on the set: %s", strerror(-n));
	/* What the kernel did not take this time is submitted by the next sleep. */
	if (n > 0 && (io_uring_sq_ready(ring) || (deadline != INT64_MAX && now() >= deadline)))
		return 0;
	return fail(EINTR, "a signal came while waiting");
}

const struct sleeper uring_sleeper = {
	.create = set_uring_create,
	.destroy = set_uring_destroy,
	.add = set_uring_add,
	.remove = set_uring_remove,
	.queue = set_uring_queue,
	.flush = set_uring_flush,
	.reap = set_uring_reap,
	.sleep = set_uring_sleep,
};

#else /* HAVE_LIBURING */

static int set_uring_missing(struct tribuf_set *set)
{
	(void)set;
	return -ENOTSUP;
}

const struct sleeper uring_sleeper = {
	.create = set_uring_missing,
};

#endif
