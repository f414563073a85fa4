// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sleeping until a frame comes or the mailbox is empty, and ringing who sleeps.
 *
 * A sleeper queues first, then sets its bit in the state word (ARMED, WATCHED or
 * PACED, by role), then looks at the word again. Its peer swaps first, then looks
 * at the bit in the word that it found, and rings. Both meet in one word:
 *
 *	sleeper				peer
 *	queue on wq			exchange the word: FRESH 0 -> 1
 *	set ARMED			found ARMED? ring
 *	FRESH? then do not sleep
 *
 * Whichever of the two read-modify-writes comes first, the other side sees it.
 *
 * Who clears the bit: a ring that finds the queue empty, under the queue's lock.
 * A sleeper that queues later finds the bit clear, for it looks after having had
 * that lock; one that queued before keeps it set. A ring that was on its way to
 * a peer whose role has ended clears nothing: the bit is its successor's, who has
 * another queue. So a queue entry that stays
 * (epoll, multishot poll) gets every edge, and none of it depends on the events
 * asked for, since EPOLL_CTL_MOD changes those without coming here to queue.
 */
#include <linux/sched/signal.h>
#include <linux/uio.h>

#include "channel.h"
#include "compat.h"
#include "trace.h"

static u32 tribuf_bit_of(const struct tribuf_handle *handle)
{
	switch (handle->role) {
	case TRIBUF_PRODUCER:
		return TRIBUF_PACED;
	case TRIBUF_CONSUMER:
		return TRIBUF_ARMED;
	case TRIBUF_OBSERVER:
		return TRIBUF_WATCHED;
	default:
		return 0;
	}
}

/* Is there what this role waits for? Its EPOLLIN or EPOLLOUT. */
static __poll_t tribuf_level(const struct tribuf_handle *handle)
{
	const struct tribuf_channel *channel = handle->channel;
	u32 word = atomic_read(channel->word);

	switch (handle->role) {
	case TRIBUF_PRODUCER:
		return word & TRIBUF_FRESH ? 0 : EPOLLOUT | EPOLLWRNORM;
	case TRIBUF_CONSUMER:
		return word & TRIBUF_FRESH ? EPOLLIN | EPOLLRDNORM : 0;
	case TRIBUF_OBSERVER:
		return tribuf_newest_seq(channel, word) > (u64)atomic64_read(&handle->taken) ?
		       EPOLLIN | EPOLLRDNORM : 0;
	default:
		return 0;
	}
}

/* The peer was once there and is gone. */
static bool tribuf_peer_gone(const struct tribuf_handle *handle)
{
	u32 state = tribuf_channel_state(handle->channel);
	u32 had, has;

	switch (handle->role) {
	case TRIBUF_PRODUCER:
		had = TRIBUF_STATE_HAD_CONSUMER;
		has = TRIBUF_STATE_CONSUMER;
		break;
	case TRIBUF_CONSUMER:
	case TRIBUF_OBSERVER:
		had = TRIBUF_STATE_HAD_PRODUCER;
		has = TRIBUF_STATE_PRODUCER;
		break;
	default:
		return false;
	}
	return (state & (had | has)) == had;
}

static __poll_t tribuf_events(const struct tribuf_handle *handle)
{
	const struct tribuf_channel *channel = handle->channel;
	__poll_t events = 0;

	if (READ_ONCE(handle->ended))
		return EPOLLERR;
	if (READ_ONCE(channel->replaced))
		events |= EPOLLERR;
	if (READ_ONCE(channel->changes) != READ_ONCE(handle->seen))
		events |= EPOLLPRI;
	if (tribuf_peer_gone(handle))
		events |= EPOLLRDHUP;
	return events | tribuf_level(handle);
}

/* Set the bit of a sleeper that is queued already. */
static void tribuf_arm(struct tribuf_handle *handle)
{
	struct tribuf_channel *channel = handle->channel;
	u32 bit = tribuf_bit_of(handle);

	if (!bit || tribuf_alive(handle))
		return;
	/*
	 * We are in the channel's lists before we look. Pairs with the barrier in
	 * tribuf_ring_observers(), which looks through the list after clearing.
	 */
	smp_mb();
	if (atomic_read(channel->word) & bit)
		return;
	/* Ordered against the look that follows by being on the same word. */
	atomic_or(bit, channel->word);
	atomic64_inc(&channel->sleeps);
	trace_tribuf_sleep(channel->id, handle->role);
}

__poll_t tribuf_poll(struct file *file, struct poll_table_struct *table)
{
	struct tribuf_handle *handle = file->private_data;

	poll_wait(file, &handle->wq, table);
	/*
	 * Before ATTACH there is nothing to tell; tribuf_wake_attached() will arm
	 * for those who queued. Either it finds our entry in the queue, or we,
	 * who had the queue's lock after it, find the channel.
	 */
	if (!tribuf_channel_of(handle))
		return 0;
	if (compat_poll_queues(table))
		tribuf_arm(handle);
	return tribuf_events(handle);
}

/* Sleep until there is something to read, or to say. 0 or -ERESTARTSYS. */
static int tribuf_read_sleep(struct tribuf_handle *handle)
{
	DEFINE_WAIT(wait);
	int err = 0;

	prepare_to_wait(&handle->wq, &wait, TASK_INTERRUPTIBLE);
	tribuf_arm(handle);
	if (!(tribuf_events(handle) & (EPOLLIN | EPOLLRDHUP | EPOLLERR))) {
		if (signal_pending(current))
			err = -ERESTARTSYS;
		else
			schedule();
	}
	finish_wait(&handle->wq, &wait);
	return err;
}

/* So often read() looks again at once where there seems to be a frame, and is none. */
#define TRIBUF_READ_TRIES	8

static int tribuf_read_frame(struct tribuf_handle *handle, struct tribuf_acquired *frame,
			     bool nowait)
{
	unsigned int tries;

	for (tries = 0;; tries++) {
		/* Looked at first: a producer may publish and then leave. */
		bool gone = tribuf_peer_gone(handle);
		int err = tribuf_take(handle, frame);

		if (err != -EAGAIN)
			return err ? err : 1;
		if (gone)
			return 0;
		if (nowait)
			return -EAGAIN;
		if (signal_pending(current))
			return -ERESTARTSYS;
		err = tribuf_read_sleep(handle);
		if (err)
			return err;
		/* An observer was outrun again and again, or its producer means harm. */
		if (tries >= TRIBUF_READ_TRIES)
			schedule_timeout_interruptible(1);
		cond_resched();
	}
}

ssize_t tribuf_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct tribuf_handle *handle = iocb->ki_filp->private_data;
	bool nowait = iocb->ki_flags & IOCB_NOWAIT || iocb->ki_filp->f_flags & O_NONBLOCK;
	struct tribuf_acquired frame;
	int err;

	if (!tribuf_channel_of(handle))
		return -ENOTCONN;
	if (iov_iter_count(to) < sizeof(frame))
		return -EINVAL;
	/* Find out now that the answer has nowhere to go, not with a frame in hand. */
	if (fault_in_iov_iter_writeable(to, sizeof(frame)))
		return -EFAULT;
	err = tribuf_read_frame(handle, &frame, nowait);
	if (err <= 0)
		return err;
	return copy_to_iter(&frame, sizeof(frame), to) == sizeof(frame) ? sizeof(frame) : -EFAULT;
}

/* Clear @bit if nobody is queued. Return whether somebody is. */
static bool tribuf_queue_check(struct tribuf_handle *handle, u32 bit)
{
	atomic_t *word = handle->channel->word;
	unsigned long flags;
	bool waiting;

	spin_lock_irqsave(&handle->wq.lock, flags);
	waiting = waitqueue_active(&handle->wq);	/* under its lock: exact */
	if (!waiting && !READ_ONCE(handle->ended) && atomic_read(word) & bit)
		atomic_andnot(bit, word);
	spin_unlock_irqrestore(&handle->wq.lock, flags);
	return waiting;
}

/* Wake a handle if what it waits for is there. */
static bool tribuf_wake_level(struct tribuf_handle *handle)
{
	__poll_t level = tribuf_level(handle);

	if (level)
		wake_up_poll(&handle->wq, level);
	return level;
}

/* Ring one peer, who alone uses @bit. Under RCU. */
static bool tribuf_ring_one(struct tribuf_handle *peer, u32 bit)
{
	return peer && tribuf_queue_check(peer, bit) && tribuf_wake_level(peer);
}

static bool tribuf_observer_waits(const struct tribuf_channel *channel)
{
	struct tribuf_handle *peer;

	list_for_each_entry_rcu(peer, &channel->observers, observing)
		if (waitqueue_active(&peer->wq))	/* exact after a barrier */
			return true;
	return false;
}

/*
 * Observers share a bit but not a queue, so no lock covers both. If nobody seems
 * to wait, the bit is cleared first and then the queues are looked at again: who
 * queued before that look is found, and the bit set again; who queues later
 * finds the bit clear and sets it. Waking comes last: a frame that was published
 * while the bit was clear is seen by the look at the level. Who does not sleep is
 * passed over without a lock: any number of observers may be there.
 */
static bool tribuf_ring_observers(struct tribuf_channel *channel)
{
	struct tribuf_handle *peer;
	bool woke = false;

	if (!tribuf_observer_waits(channel)) {
		atomic_andnot(TRIBUF_WATCHED, channel->word);
		smp_mb__after_atomic();	/* pairs with tribuf_arm() */
		if (!tribuf_observer_waits(channel))
			return false;
		atomic_or(TRIBUF_WATCHED, channel->word);
	}
	/* The word, swapped by our caller, before the queues. Pairs with tribuf_arm(). */
	smp_mb();
	list_for_each_entry_rcu(peer, &channel->observers, observing)
		if (waitqueue_active(&peer->wq))	/* after that barrier */
			woke |= tribuf_wake_level(peer);
	return woke;
}

/* Wake who sleeps for what @handle has just done. Takes no lock but the queues'. */
void tribuf_ring_peers(struct tribuf_handle *handle)
{
	struct tribuf_channel *channel = handle->channel;
	bool woke;

	rcu_read_lock();
	if (handle->role == TRIBUF_PRODUCER) {
		woke = tribuf_ring_one(rcu_dereference(channel->consumer), TRIBUF_ARMED);
		if (atomic_read(channel->word) & TRIBUF_WATCHED)
			woke |= tribuf_ring_observers(channel);
	} else {
		woke = tribuf_ring_one(rcu_dereference(channel->producer), TRIBUF_PACED);
	}
	rcu_read_unlock();
	atomic64_inc(&channel->rings);
	if (woke)
		atomic64_inc(&channel->wakes);
	trace_tribuf_ring(channel->id, handle->role, woke);
}

long tribuf_ring(struct tribuf_handle *handle)
{
	int err = tribuf_alive(handle);

	if (err)
		return err;
	if (handle->role != TRIBUF_PRODUCER && handle->role != TRIBUF_CONSUMER)
		return -EACCES;
	tribuf_ring_peers(handle);
	return 0;
}

/*
 * Wake everyone on a handle, exclusive waiters too: not for a frame, for a change.
 * io_uring does not heed EPOLLPRI in a key (IO_ASYNC_POLL_COMMON), whoever waits
 * for it there: without a key everyone looks for themselves.
 */
void tribuf_wake(struct tribuf_handle *handle, __poll_t events)
{
	__wake_up(&handle->wq, TASK_NORMAL, 0,
		  events & EPOLLPRI ? NULL : poll_to_key(events));
}

/* ATTACH is done: arm for those who queued on the handle before, and tell them. */
void tribuf_wake_attached(struct tribuf_handle *handle)
{
	__poll_t events;

	if (!tribuf_queue_check(handle, 0))
		return;
	tribuf_arm(handle);
	events = tribuf_events(handle);
	if (events)
		tribuf_wake(handle, events);
}

/* Everyone on the channel learns of a death, a new peer or a new geometry. */
void tribuf_wake_all(struct tribuf_channel *channel, __poll_t events)
{
	struct tribuf_handle *handle;

	lockdep_assert_held(&channel->lock);
	list_for_each_entry(handle, &channel->attached, attached)
		tribuf_wake(handle, events);
}
