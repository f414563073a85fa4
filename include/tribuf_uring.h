/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Channels on an io_uring of one's own: waits that stay queued, and reads that
 * end when a frame comes. For programs that have a ring already and link with
 * liburing (2.2 or later); who has none calls tribuf_wait() or uses a set.
 *
 * Channels of /dev/tribuf only: shm has no descriptor (-ENOTSUP). Works from
 * Linux 6.1 on; nothing in here needs more, and multishot reads of newer kernels
 * are left alone on purpose: they would take a consumer's frame out of its hands
 * while it is being read.
 *
 * These functions only fill in entries and look at answers: rings, submission and
 * user data are the program's. Set the entry's user data after the prepare
 * function. A request that is queued holds on to the channel's descriptor: cancel
 * it (io_uring_prep_poll_remove(), io_uring_prep_cancel()) before tribuf_close(),
 * or the answer names a handle that is no more.
 */
#ifndef TRIBUF_URING_H
#define TRIBUF_URING_H

#include <liburing.h>
#include <poll.h>

#include "tribuf.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef POLLRDHUP
#define POLLRDHUP	0x2000	/* as Linux has it where _GNU_SOURCE does not show it */
#endif

/**
 * tribuf_uring_wait - prepare a wait that stays queued and answers each time
 * @sqe: the entry
 * @t: a handle, not a keeper's
 * @events: TRIBUF_READY and so on, as for tribuf_wait()
 *
 * While it is queued the peer takes its owner for a sleeper, and rings once for
 * each frame that is really taken. Who works long between frames saves that with
 * tribuf_uring_wait_once(). Take frames until there is none: a frame that was
 * there before the last answer brings no other.
 *
 * Returns 0, or a negative errno value of tribuf_poll_events(), with @sqe as it
 * was.
 */
static inline int tribuf_uring_wait(struct io_uring_sqe *sqe, struct tribuf *t, unsigned int events)
{
	int mask = tribuf_poll_events(t, events);

	if (mask < 0)
		return mask;
	/* Once and for all, so also for what only a later peer can cause. */
	if (events & TRIBUF_PEER_GONE)
		mask |= POLLRDHUP;
	io_uring_prep_poll_multishot(sqe, tribuf_fd(t), (unsigned int)mask);
	return 0;
}

/*
 * tribuf_uring_wait_once - the same for one answer: to be queued just before one
 * goes to sleep, when there is nothing to take. Costs the peer two rings at most.
 * While the peer is gone the answer comes at once, each time: io_uring tells of that
 * (POLLRDHUP) whatever it is asked for. Wait by tribuf_uring_wait() then.
 */
static inline int tribuf_uring_wait_once(struct io_uring_sqe *sqe, struct tribuf *t,
					 unsigned int events)
{
	int mask = tribuf_poll_events(t, events);

	if (mask < 0)
		return mask;
	io_uring_prep_poll_add(sqe, tribuf_fd(t), (unsigned int)mask);
	return 0;
}

/**
 * tribuf_uring_woken - what the answer to a wait says
 * @t: the handle
 * @events: as prepared
 * @cqe: the answer
 *
 * Returns the bits of @events that hold, 0: none; take what is there and go on.
 * Errors: those of tribuf_wait(), or the request's own, such as -ECANCELED.
 */
static inline int tribuf_uring_woken(struct tribuf *t, unsigned int events,
				     const struct io_uring_cqe *cqe)
{
	return cqe->res < 0 ? cqe->res : tribuf_polled(t, events, cqe->res);
}

/*
 * tribuf_uring_queued - is the request still queued after this answer? If not,
 * prepare it anew: the kernel ends a multishot wait when it runs short (of room
 * for answers, of memory), without an error.
 */
static inline int tribuf_uring_queued(const struct io_uring_cqe *cqe)
{
	return !!(cqe->flags & IORING_CQE_F_MORE);
}

/**
 * tribuf_uring_read - prepare a read that ends when there is a frame
 * @sqe: the entry
 * @t: a consumer's or an observer's handle
 * @acquired: to be kept until the answer comes
 *
 * It takes the frame: a consumer's frame in hand goes back to the producer when
 * it ends, whenever that is. So have none in hand, or one that may go.
 *
 * Returns 0, or a negative errno value of tribuf_fd(), with @sqe as it was.
 */
static inline int tribuf_uring_read(struct io_uring_sqe *sqe, struct tribuf *t,
				    struct tribuf_acquired *acquired)
{
	int fd = tribuf_fd(t);

	if (fd < 0)
		return fd;
	io_uring_prep_read(sqe, fd, acquired, sizeof(*acquired), 0);
	return 0;
}

/**
 * tribuf_uring_frame - the frame that a read has taken
 * @t: the handle
 * @acquired: as prepared
 * @cqe: the answer
 * @frame: out: the frame, as by tribuf_accept(); untouched unless 1 is returned
 *
 * Returns 1; 0: the producer has left and nothing is fresh. Errors: those of
 * tribuf_accept(), or the request's own, such as -ECANCELED, -ENOTCONN, -ESTALE.
 */
static inline int tribuf_uring_frame(struct tribuf *t, const struct tribuf_acquired *acquired,
				     const struct io_uring_cqe *cqe, struct tribuf_frame *frame)
{
	int err;

	if (cqe->res <= 0)
		return cqe->res;
	if (cqe->res != (int)sizeof(*acquired))
		return -EPROTO;		/* not the answer to this read */
	err = tribuf_accept(t, acquired, frame);
	return err ? err : 1;
}

#ifdef __cplusplus
}
#endif

#endif /* TRIBUF_URING_H */
