// SPDX-License-Identifier: GPL-2.0-only
/*
 * COPY and FORMAT: reading what one need not hold, checked by generation or
 * version, and writing the format.
 */
#include <linux/highmem.h>
#include <linux/nospec.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "channel.h"

static bool tribuf_copy_fits(const struct tribuf_channel *channel,
			     const struct tribuf_copy_args *args)
{
	u64 size = channel->geometry->slot_size;

	return args->slot < TRIBUF_SLOTS && args->offset <= size &&
	       args->bytes <= size - args->offset;
}

/* What lies at @at of the file, within a page, to user memory. */
static long tribuf_copy_page(struct tribuf_channel *channel, u64 at, void __user *to,
			     size_t bytes)
{
	struct page *page = tribuf_page_get(channel, at >> PAGE_SHIFT);
	unsigned long left;
	void *from;

	if (!page)
		return -ESTALE;	/* the last role ended meanwhile */
	from = kmap_local_page(page);
	left = copy_to_user(to, from + offset_in_page(at), bytes);
	kunmap_local(from);
	put_page(page);
	return left ? -EFAULT : 0;
}

/*
 * A seqlock read: the generation before must be the one asked for and even; what
 * was copied counts only if it still is afterwards.
 */
long tribuf_copy(struct tribuf_handle *handle, const struct tribuf_copy_args *args)
{
	struct tribuf_channel *channel = handle->channel;
	u64 done = 0, at;
	u32 *generation;
	u32 slot;
	long err;

	if (args->flags || args->reserved)
		return -EINVAL;
	if (handle->role == TRIBUF_KEEPER)
		return -EACCES;
	err = tribuf_alive(handle);
	if (err)
		return err;
	if (tribuf_channel_state(channel) & TRIBUF_STATE_PENDING)
		return -EAGAIN;
	if (!tribuf_copy_fits(channel, args))
		return -EINVAL;

	slot = array_index_nospec(args->slot, TRIBUF_SLOTS);
	generation = &channel->frames->desc[slot].generation;
	/* Pairs with the release of the even generation at publish. */
	if (args->generation & 1 || smp_load_acquire(generation) != args->generation)
		return -ESTALE;
	at = channel->geometry->slots_offset + slot * channel->geometry->slot_stride +
	     args->offset;
	while (done < args->bytes) {
		size_t bytes = min_t(u64, args->bytes - done,
				     PAGE_SIZE - offset_in_page(at + done));

		if (fatal_signal_pending(current))
			return -EINTR;
		err = tribuf_copy_page(channel, at + done, u64_to_user_ptr(args->buf + done),
				       bytes);
		if (err)
			return err;
		done += bytes;
		cond_resched();
	}
	smp_rmb();	/* pairs with the barrier after the odd generation at begin */
	return READ_ONCE(*generation) == args->generation ? 0 : -ESTALE;
}

/* Format bytes are written by user space while we read: no memcpy, see swap.c. */
static void tribuf_format_bytes_copy(u8 *to, const u8 *from, u32 bytes)
{
	u32 i;

	for (i = 0; i < bytes; i++)
		WRITE_ONCE(to[i], READ_ONCE(from[i]));
}

static int tribuf_format_read(struct tribuf_channel *channel, u8 *data, u32 *bytes, u32 *version)
{
	const struct tribuf_format *format = &channel->frames->format;
	unsigned int tries;

	for (tries = 0; tries < TRIBUF_TRIES; tries++) {
		/* Pairs with the release of the even version. */
		u32 before = smp_load_acquire(&format->version);

		if (before & 1) {
			cond_resched();
			continue;
		}
		*bytes = READ_ONCE(format->bytes);
		if (*bytes <= TRIBUF_FORMAT_BYTES)
			tribuf_format_bytes_copy(data, format->data, *bytes);
		smp_rmb();	/* pairs with the barrier after the odd version */
		if (READ_ONCE(format->version) != before)
			continue;
		*version = before;
		return *bytes <= TRIBUF_FORMAT_BYTES ? 0 : -EPROTO;
	}
	return -EAGAIN;
}

static long tribuf_format_get(struct tribuf_handle *handle, struct tribuf_format_args *args,
			      u8 *data)
{
	u32 room = args->bytes;
	long err;

	err = tribuf_format_read(handle->channel, data, &args->bytes, &args->version);
	if (err)
		return err;
	if (copy_to_user(u64_to_user_ptr(args->buf), data, min(room, args->bytes)))
		return -EFAULT;
	return 0;
}

/* Return the version that it got. */
static u32 tribuf_format_write(struct tribuf_channel *channel, const u8 *data, u32 bytes)
{
	struct tribuf_format *format = &channel->frames->format;
	u32 version = READ_ONCE(format->version) | 1;

	WRITE_ONCE(format->version, version);
	smp_wmb();	/* pairs with smp_rmb() in tribuf_format_read() */
	WRITE_ONCE(format->bytes, bytes);
	tribuf_format_bytes_copy(format->data, data, bytes);
	/* Pairs with the acquire in tribuf_format_read(). */
	smp_store_release(&format->version, version + 1);
	return version + 1;
}

static long tribuf_format_set(struct tribuf_handle *handle, struct tribuf_format_args *args,
			      u8 *data)
{
	long err;

	if (handle->role != TRIBUF_PRODUCER)
		return -EACCES;
	if (args->bytes > TRIBUF_FORMAT_BYTES)
		return -EMSGSIZE;
	if (copy_from_user(data, u64_to_user_ptr(args->buf), args->bytes))
		return -EFAULT;
	mutex_lock(&handle->lock);
	err = tribuf_alive(handle);
	if (!err)
		args->version = tribuf_format_write(handle->channel, data, args->bytes);
	mutex_unlock(&handle->lock);
	return err;
}

long tribuf_format(struct tribuf_handle *handle, struct tribuf_format_args *args)
{
	u8 *data;
	long err;

	if (args->flags & ~TRIBUF_FORMAT_SET || args->reserved)
		return -EINVAL;
	if (handle->role == TRIBUF_KEEPER)
		return -EACCES;
	err = tribuf_alive(handle);
	if (err)
		return err;
	data = kmalloc(TRIBUF_FORMAT_BYTES, GFP_KERNEL_ACCOUNT);
	if (!data)
		return -ENOMEM;
	if (args->flags & TRIBUF_FORMAT_SET)
		err = tribuf_format_set(handle, args, data);
	else
		err = tribuf_format_get(handle, args, data);
	kfree(data);
	return err;
}
