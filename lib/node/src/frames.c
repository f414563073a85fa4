// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The frame path for JavaScript. What a frame is goes through the channel's
 * record. Where somebody with a window may have swapped meanwhile, the handle
 * takes that up first.
 */
#include "addon.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define STAMP_NOW	UINT64_MAX	/* record.timestamp: the time of publishing */

static uint64_t monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void describe(struct channel *c, const struct tribuf_frame *frame)
{
	struct record *r = c->record;

	r->seq = (double)frame->seq;
	r->bytes = (double)frame->bytes;
	r->timestamp = frame->timestamp;
	r->cookie = frame->cookie;
	r->slot = frame->slot;
	r->generation = frame->generation;
	r->format = frame->format;
	r->flags = frame->flags;
	memcpy(r->user, frame->user, sizeof(r->user));
}

/* Has JavaScript or WebAssembly swapped in the handle's place? */
static int catch_up(struct channel *c)
{
	bool swaps = c->role == TRIBUF_PRODUCER || c->role == TRIBUF_CONSUMER;
	int swapped = c->windows && swaps ? tribuf_resume(c->t) : 0;

	if (swapped > 0)
		c->record->swapped = 1;
	return swapped < 0 ? swapped : 0;
}

/* acquire(channel): 1: a frame, which the record describes; 0: none */
napi_value js_acquire(napi_env napi, napi_callback_info info)
{
	struct tribuf_frame frame = { .bytes = 0 };
	struct channel *c;
	struct args args;
	int got;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)))
		return NULL;
	got = catch_up(c);
	if (!got)
		got = tribuf_acquire(c->t, &frame);
	if (got < 0)
		return fail(napi, got);
	if (got)
		describe(c, &frame);
	return number(napi, got);
}

/* snapshot(channel, into): likewise; 2: it did not fit, the record tells its length */
napi_value js_snapshot(napi_env napi, napi_callback_info info)
{
	struct tribuf_frame frame = { .bytes = 0 };
	unsigned char *data;
	struct channel *c;
	struct args args;
	size_t room;
	int got;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)) ||
	    !get_bytes(napi, args.v[1], "into", &data, &room))
		return NULL;
	got = tribuf_snapshot(c->t, &frame, data, room);
	if (got == -EMSGSIZE) {
		c->record->bytes = (double)frame.bytes;
		return number(napi, 2);
	}
	if (got < 0)
		return fail(napi, got);
	if (got)
		describe(c, &frame);
	return number(napi, got);
}

static int begin(struct channel *c)
{
	int err = catch_up(c);

	if (!err)
		err = tribuf_begin(c->t, &c->frame);
	if (!err)
		c->begun = true;
	return err;
}

/* begin(channel): the record describes the frame to write */
napi_value js_begin(napi_env napi, napi_callback_info info)
{
	struct channel *c;
	struct args args;
	int err;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)))
		return NULL;
	err = begin(c);
	if (err)
		return fail(napi, err);
	describe(c, &c->frame);
	return NULL;
}

/* TRIBUF_OVERWROTE, 0, or an error. The record has the rest of what the frame is. */
static int publish(struct channel *c, uint64_t bytes)
{
	const struct record *r = c->record;

	c->frame.bytes = bytes;
	c->frame.timestamp = r->timestamp == STAMP_NOW ? monotonic() : r->timestamp;
	c->frame.cookie = r->cookie;
	c->frame.flags = r->flags;
	if (c->begun)
		memcpy(c->frame.user, r->user, sizeof(r->user));
	return tribuf_publish(c->t, &c->frame);
}

/* publish(channel, bytes): the frame that was begun; 1: the one before was never taken */
napi_value js_publish(napi_env napi, napi_callback_info info)
{
	struct channel *c;
	struct args args;
	uint64_t bytes;
	int result;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)) ||
	    !get_size(napi, args.v[1], "bytes", &bytes))
		return NULL;
	result = publish(c, bytes);
	if (result < 0)
		return fail(napi, result);
	c->record->seq = (double)c->frame.seq;
	return number(napi, (unsigned int)result & TRIBUF_OVERWROTE ? 1 : 0);
}

/* write(channel, data): a frame that is a copy of @data, begun and published */
napi_value js_write(napi_env napi, napi_callback_info info)
{
	unsigned char *data;
	struct channel *c;
	struct args args;
	size_t bytes;
	int result;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)) ||
	    !get_bytes(napi, args.v[1], "the frame", &data, &bytes))
		return NULL;
	result = begin(c);
	if (!result && bytes && bytes <= c->frame.bytes)
		memmove(c->frame.data, data, bytes);
	if (!result)
		result = publish(c, bytes);	/* refuses one that is too long */
	if (result < 0)
		return fail(napi, result);
	c->record->seq = (double)c->frame.seq;
	return number(napi, (unsigned int)result & TRIBUF_OVERWROTE ? 1 : 0);
}

/* ref(channel, slot, generation, offset): the index; the generation stays as it is */
napi_value js_ref(napi_env napi, napi_callback_info info)
{
	struct tribuf_gen_index reference = { 0 };
	struct tribuf_frame frame = { .bytes = 0 };
	struct channel *c;
	struct args args;
	uint64_t offset;
	int err;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)) ||
	    !get_u32(napi, args.v[1], "slot", &frame.slot) ||
	    !get_u32(napi, args.v[2], "generation", &frame.generation) ||
	    !get_size(napi, args.v[3], "offset", &offset))
		return NULL;
	err = tribuf_frame_ref(c->t, &frame, offset, &reference);
	return err ? fail(napi, err) : number(napi, reference.index);
}

static bool get_reference(napi_env napi, const napi_value *v, struct tribuf_gen_index *reference)
{
	return get_u32(napi, v[0], "a reference's index", &reference->index) &&
	       get_u32(napi, v[1], "a reference's generation", &reference->generation);
}

/*
 * deref(channel, index, generation, bytes): offset from the start of the slot in
 * hand, whose number is in the record
 */
napi_value js_deref(napi_env napi, napi_callback_info info)
{
	struct tribuf_gen_index reference;
	struct channel *c;
	struct args args;
	uint64_t bytes;
	void *pointer = NULL;
	int err;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)) ||
	    !get_reference(napi, args.v + 1, &reference) ||
	    !get_size(napi, args.v[3], "bytes", &bytes))
		return NULL;
	err = catch_up(c);
	if (!err)
		err = tribuf_deref(c->t, reference, (size_t)bytes, &pointer);
	if (err)
		return fail(napi, err);
	c->record->slot = (uint32_t)c->t->slot;
	return number(napi, (double)((unsigned char *)pointer - c->t->slots -
				     (ptrdiff_t)(c->t->slot * c->t->slot_stride)));
}

/* copy(channel, index, generation, into): fills @into from where the reference points */
napi_value js_copy(napi_env napi, napi_callback_info info)
{
	struct tribuf_gen_index reference;
	unsigned char *data;
	struct channel *c;
	struct args args;
	size_t bytes;
	int err;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)) ||
	    !get_reference(napi, args.v + 1, &reference) ||
	    !get_bytes(napi, args.v[3], "into", &data, &bytes))
		return NULL;
	err = tribuf_copy(c->t, reference, data, bytes);
	return err ? fail(napi, err) : NULL;
}
