// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Guarded channels: the slow functions' other half. State word and descriptors
 * are the kernel's, here they can only be looked at: the frame path works on
 * descriptors of the handle's own, publish and acquire are calls, and so is every
 * copy, since a slot answers to its owner alone. Of /dev/tribuf only.
 */
#include "internal.h"

#include <string.h>

int guarded_begin(struct handle *h)
{
	size_t slot = h->t.slot;

	if (forked(h))
		return forked_handle();
	/* Its generation is odd already, by the kernel's hand, since the slot is ours. */
	h->descs[slot] = h->frames->desc[slot];
	h->t.generation = h->descs[slot].generation;
	return 0;
}

/* @frame was checked. */
int guarded_publish(struct handle *h, const struct tribuf_frame *frame, unsigned int flags)
{
	struct tribuf_publish_args args = {
		.size = sizeof(args),
		.flags = flags,
		.bytes = frame->bytes,
		.timestamp = frame->timestamp,
		.cookie = frame->cookie,
		.frame_flags = frame->flags,
	};
	int err;

	if (forked(h))
		return forked_handle();
	memcpy(args.user, h->descs[frame->slot].user, sizeof(args.user));
	err = device_call(h->fd, TRIBUF_IOC_PUBLISH, &args);
	if (err)
		return device_failed(h, -err);
	h->t.slot = args.back;
	h->t.generation = ~h->descs[args.back].generation;	/* not begun */
	h->t.seq = args.seq;
	return (int)args.result;
}

int guarded_acquire(struct handle *h)
{
	struct tribuf_acquire_args args = { .size = sizeof(args) };
	int err;

	/* Nobody but us empties the mailbox: that it is empty needs no call. */
	if (!(__atomic_load_n(&h->state->word, __ATOMIC_RELAXED) & TRIBUF_FRESH))
		return 0;
	if (forked(h))
		return forked_handle();
	err = device_call(h->fd, TRIBUF_IOC_ACQUIRE, &args);
	if (err)
		return err == -EAGAIN ? 0 : device_failed(h, -err);
	hold(h, &args.frame);
	return 1;
}

/* 0; -ESTALE, not explained: the slot has another frame, or the role ended. */
int guarded_copy(struct handle *h, uint32_t slot, uint32_t generation, uint64_t offset,
		 void *data, size_t bytes)
{
	struct tribuf_copy_args args = {
		.size = sizeof(args),
		.slot = slot,
		.generation = generation,
		.offset = offset,
		.bytes = bytes,
		.buf = (uintptr_t)data,
	};
	int err = device_call(h->fd, TRIBUF_IOC_COPY, &args);

	return !err || err == -ESTALE ? err : device_failed(h, -err);
}

int guarded_format_set(struct handle *h, const void *data, size_t bytes)
{
	struct tribuf_format_args args = {
		.size = sizeof(args),
		.flags = TRIBUF_FORMAT_SET,
		.bytes = (uint32_t)bytes,
		.buf = (uintptr_t)data,
	};
	int err = device_call(h->fd, TRIBUF_IOC_FORMAT, &args);

	if (err)
		return device_failed(h, -err);
	h->t.format = args.version;
	return 0;
}
