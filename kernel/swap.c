// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state word by the kernel's hand: the same swaps that programs do inline,
 * and what happens to word and descriptors when a role changes hands.
 *
 * The word and the descriptors lie in pages that peers write. Each value is read
 * once and checked before use; each loop is bounded.
 */
#include "channel.h"
#include "trace.h"

static u32 tribuf_word(const struct tribuf_channel *channel)
{
	return atomic_read(channel->word);
}

/*
 * Descriptors are copied word by word, since user space may write them at the
 * same time. Whoever needs a consistent copy checks the generation around it.
 */
static void tribuf_desc_copy(u32 *to, const u32 *from)
{
	unsigned int i;

	BUILD_BUG_ON(sizeof(struct tribuf_desc) % sizeof(u32));
	for (i = 0; i < sizeof(struct tribuf_desc) / sizeof(u32); i++)
		WRITE_ONCE(to[i], READ_ONCE(from[i]));
}

static struct tribuf_desc *tribuf_desc(const struct tribuf_channel *channel, u32 slot)
{
	return &channel->frames->desc[slot];
}

/* Number of the newest published frame, 0: none. A claim of the producer's. */
u64 tribuf_newest_seq(const struct tribuf_channel *channel, u32 word)
{
	if (!tribuf_word_valid(word))
		return 0;
	return READ_ONCE(tribuf_desc(channel, tribuf_word_newest(word))->seq);
}

/*
 * LATEST: the newest frame goes from front back to the mailbox, if it is not
 * there already and there ever was one. The consumer is not attached yet, so the
 * producer is the only rival.
 *
 * Return: 1 if so, 0 if there was nothing to do, -EPROTO.
 */
int tribuf_swap_redeliver(struct tribuf_channel *channel)
{
	int word = atomic_read(channel->word);
	unsigned int tries;

	for (tries = 0; tries < TRIBUF_TRIES; tries++) {
		if (!tribuf_word_valid(word))
			return -EPROTO;
		if (word & TRIBUF_FRESH || !tribuf_newest_seq(channel, word))
			return 0;
		if (atomic_try_cmpxchg(channel->word, &word, tribuf_word_redeliver(word))) {
			atomic64_inc(&channel->redelivered);
			return 1;
		}
	}
	return -EPROTO;
}

/*
 * A new producer: its back slot begins a frame under a generation that its
 * predecessor, wherever it died, never used; a format that the predecessor left
 * half written becomes an empty one.
 */
void tribuf_swap_takeover(struct tribuf_channel *channel, u32 back)
{
	struct tribuf_desc *desc = tribuf_desc(channel, back);
	struct tribuf_format *format = &channel->frames->format;
	u32 version = READ_ONCE(format->version);

	WRITE_ONCE(desc->generation, tribuf_generation_takeover(READ_ONCE(desc->generation)));
	if (version & 1) {
		WRITE_ONCE(format->bytes, 0);
		/* Pairs with the acquire in tribuf_format_read(). */
		smp_store_release(&format->version, version + 1);
	}
}

/* Swap the mailbox to the front. Return 0 with the word found in @old. */
static int tribuf_swap_acquire(struct tribuf_channel *channel, u32 *old)
{
	int word = atomic_read(channel->word);
	unsigned int tries;

	for (tries = 0; tries < TRIBUF_TRIES; tries++) {
		if (!tribuf_word_valid(word))
			return -EPROTO;
		if (!(word & TRIBUF_FRESH))
			return -EAGAIN;
		/* Full barrier: pairs with the producer's exchange at publish. */
		if (atomic_try_cmpxchg(channel->word, &word, tribuf_word_acquire(word))) {
			*old = word;
			return 0;
		}
	}
	return -EPROTO;
}

static int tribuf_take_consumer(struct tribuf_handle *handle, struct tribuf_acquired *frame)
{
	struct tribuf_channel *channel = handle->channel;
	u32 front = handle->owned;
	u32 word;
	int err;

	if (channel->guarded) {
		/*
		 * Looked at once: a frame that comes behind this look would be
		 * acquired with the slot in front still mapped. What is fresh
		 * stays so, for only we make the mailbox empty.
		 */
		if (!(tribuf_word(channel) & TRIBUF_FRESH))
			return -EAGAIN;
		tribuf_guard_take(handle);
	}
	err = tribuf_swap_acquire(channel, &word);
	if (err) {
		if (channel->guarded)
			tribuf_guard_give(handle, front);
		return err;
	}
	atomic64_inc(&channel->acquires);
	frame->slot = tribuf_word_middle(word);
	if (channel->guarded)
		tribuf_guard_give(handle, frame->slot);
	tribuf_desc_copy((u32 *)&frame->desc, (u32 *)tribuf_desc(channel, frame->slot));
	if (tribuf_acquire_rings(word))
		tribuf_ring_peers(handle);
	return frame->desc.bytes > channel->geometry->slot_size ? -EPROTO : 0;
}

static int tribuf_take_observer(struct tribuf_handle *handle, struct tribuf_acquired *frame)
{
	struct tribuf_channel *channel = handle->channel;
	unsigned int tries;

	for (tries = 0; tries < TRIBUF_TRIES; tries++) {
		u32 word = tribuf_word(channel);
		struct tribuf_desc *desc;
		u32 generation;

		if (!tribuf_word_valid(word))
			return -EPROTO;
		frame->slot = tribuf_word_newest(word);
		desc = tribuf_desc(channel, frame->slot);
		/* Pairs with the release of the even generation at publish. */
		generation = smp_load_acquire(&desc->generation);
		tribuf_desc_copy((u32 *)&frame->desc, (u32 *)desc);
		smp_rmb();	/* pairs with the barrier after the odd generation at begin */
		/*
		 * The slot may have been recycled, and described anew for a frame
		 * that is not published yet and never will be if its producer
		 * dies. One that is still the newest, and then still has its
		 * generation, is the frame that was published.
		 */
		if (tribuf_word_newest(tribuf_word(channel)) != frame->slot)
			continue;
		smp_rmb();	/* the word before the generation, as the producer wrote them */
		if (generation & 1 || READ_ONCE(desc->generation) != generation)
			continue;
		frame->desc.generation = generation;
		if (frame->desc.seq <= (u64)atomic64_read(&handle->taken))
			return -EAGAIN;
		/* Also what is refused: or poll would go on to say that there is a frame. */
		atomic64_set(&handle->taken, frame->desc.seq);
		return frame->desc.bytes > channel->geometry->slot_size ? -EPROTO : 0;
	}
	return -EAGAIN;
}

/**
 * tribuf_take - the next frame for a consumer or an observer
 * @handle: attached
 * @frame: out
 *
 * Return: 0 or an error of TRIBUF_IOC_ACQUIRE.
 */
int tribuf_take(struct tribuf_handle *handle, struct tribuf_acquired *frame)
{
	int err;

	memset(frame, 0, sizeof(*frame));
	mutex_lock(&handle->lock);
	err = tribuf_alive(handle);
	if (!err && !tribuf_role_in(handle, TRIBUF_GRANT(TRIBUF_CONSUMER) |
				    TRIBUF_GRANT(TRIBUF_OBSERVER)))
		err = -EACCES;
	if (!err && tribuf_channel_state(handle->channel) & TRIBUF_STATE_PENDING)
		err = -EAGAIN;
	if (!err && handle->role == TRIBUF_CONSUMER)
		err = tribuf_take_consumer(handle, frame);
	else if (!err)
		err = tribuf_take_observer(handle, frame);
	mutex_unlock(&handle->lock);
	if (!err && handle->channel->guarded && handle->role == TRIBUF_CONSUMER)
		tribuf_guard_map_ahead(handle);
	return err;
}

/* Describe the frame in the back slot, its even generation last. */
static u32 tribuf_desc_fill(struct tribuf_channel *channel, struct tribuf_desc *desc, u64 seq,
			    const struct tribuf_publish_args *args)
{
	u32 generation = READ_ONCE(desc->generation);

	/* A frame that was never begun: readers of its predecessor must notice. */
	WRITE_ONCE(desc->generation, tribuf_generation_begin(generation));
	smp_wmb();	/* pairs with smp_rmb() in tribuf_take_observer(), tribuf_copy() */
	WRITE_ONCE(desc->flags, args->frame_flags);
	WRITE_ONCE(desc->seq, seq);
	WRITE_ONCE(desc->bytes, args->bytes);
	WRITE_ONCE(desc->timestamp, args->timestamp);
	WRITE_ONCE(desc->cookie, args->cookie);
	WRITE_ONCE(desc->format, READ_ONCE(channel->frames->format.version));
	memcpy(desc->user, args->user, sizeof(desc->user));
	generation = tribuf_generation_publish(generation);
	/* Pairs with the acquire in tribuf_take_observer() and tribuf_copy(). */
	smp_store_release(&desc->generation, generation);
	return generation;
}

/* Swap @slot, the back one, into the mailbox. Return 0 with the word found in @old. */
static int tribuf_swap_publish(struct tribuf_channel *channel, u32 slot, u32 *old)
{
	int word = atomic_read(channel->word);
	unsigned int tries;

	for (tries = 0; tries < TRIBUF_TRIES; tries++) {
		if (!tribuf_word_valid(word) || tribuf_word_back(word) != slot)
			return -EPROTO;
		/* Full barrier: pairs with the consumer's exchange at acquire. */
		if (atomic_try_cmpxchg(channel->word, &word, tribuf_word_publish(word))) {
			*old = word;
			return 0;
		}
	}
	return -EPROTO;
}

static long tribuf_publish_locked(struct tribuf_handle *handle, struct tribuf_publish_args *args)
{
	struct tribuf_channel *channel = handle->channel;
	u32 word = tribuf_word(channel);
	struct tribuf_desc *next;
	int err;

	err = tribuf_alive(handle);
	if (err)
		return err;
	if (tribuf_channel_state(channel) & TRIBUF_STATE_PENDING)
		return -EAGAIN;
	if (args->bytes > channel->geometry->slot_size)
		return -EMSGSIZE;
	if (!tribuf_word_valid(word))
		return -EPROTO;
	args->slot = tribuf_word_back(word);
	if (channel->guarded)
		tribuf_guard_take(handle);	/* before anyone can acquire it */
	args->seq = tribuf_newest_seq(channel, word) + 1;
	args->generation = tribuf_desc_fill(channel, tribuf_desc(channel, args->slot), args->seq,
					    args);
	err = tribuf_swap_publish(channel, args->slot, &word);
	if (err) {
		if (channel->guarded)
			tribuf_guard_give(handle, args->slot);
		return err;
	}
	/* The caller may write into the new back slot as soon as we return. */
	args->back = tribuf_word_middle(word);
	if (channel->guarded)
		tribuf_guard_give(handle, args->back);
	next = tribuf_desc(channel, args->back);
	WRITE_ONCE(next->generation, tribuf_generation_begin(READ_ONCE(next->generation)));
	smp_wmb();	/* pairs with smp_rmb() in tribuf_take_observer(), tribuf_copy() */

	atomic64_inc(&channel->publishes);
	args->result = 0;
	if (word & TRIBUF_FRESH) {
		WRITE_ONCE(channel->frames->overwritten, channel->frames->overwritten + 1);
		args->result |= TRIBUF_OVERWROTE;
	}
	if (tribuf_publish_rings(word)) {
		if (args->flags & TRIBUF_NO_RING)
			args->result |= TRIBUF_RING_DUE;
		else
			tribuf_ring_peers(handle);
	}
	return 0;
}

long tribuf_publish(struct tribuf_handle *handle, struct tribuf_publish_args *args)
{
	long err;

	if (args->flags & ~TRIBUF_NO_RING || args->frame_flags & 0xffff || args->reserved)
		return -EINVAL;
	if (handle->role != TRIBUF_PRODUCER)
		return -EACCES;
	mutex_lock(&handle->lock);
	err = tribuf_publish_locked(handle, args);
	mutex_unlock(&handle->lock);
	if (!err && handle->channel->guarded)
		tribuf_guard_map_ahead(handle);
	return err;
}
