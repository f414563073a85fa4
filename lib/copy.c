// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Reads of what another process may be writing: slots that the caller does not
 * hold, and the format area. All are seqlock reads: copy, then check that the
 * generation (the version) has not moved. On a guarded channel the kernel does so.
 */
#include "internal.h"

#include <string.h>

#define FORMAT_TRIES	1000

/* The partner of the fences in tribuf_begin() and tribuf_describe_last(). */
static bool still(const uint32_t *generation, uint32_t expected)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(generation, __ATOMIC_RELAXED) == expected;
}

static int recycled(void)
{
	return fail(ESTALE, "the slot has another frame by now: the producer was faster");
}

/* 0; -ESTALE, not explained; or an error. The caller checked the range. */
static int copy_slot(struct handle *h, uint32_t slot, uint32_t generation, uint64_t offset,
		     void *data, size_t bytes)
{
	const struct tribuf *t = &h->t;
	const uint32_t *current = &t->desc[slot].generation;

	if (h->guarded)
		return guarded_copy(h, slot, generation, offset, data, bytes);
	/* Odd: of a frame that is being written, whose bytes are nobody's yet. */
	if (generation & 1 || __atomic_load_n(current, __ATOMIC_ACQUIRE) != generation)
		return -ESTALE;
	memcpy(data, t->slots + (size_t)(slot * t->slot_stride + offset), bytes);
	return still(current, generation) ? 0 : -ESTALE;
}

int tribuf_copy(struct tribuf *t, struct tribuf_gen_index reference, void *data, size_t bytes)
{
	uint64_t place = (uint64_t)reference.index << t->granule_shift;
	int err;

	if (forked(handle_of(t)))
		return forked_handle();
	if (!t->slot_stride || place / t->slot_stride >= TRIBUF_SLOTS ||
	    place % t->slot_stride >= t->slot_size ||
	    bytes > t->slot_size - place % t->slot_stride)
		return tribuf_deref_slow(t, reference, bytes);
	err = copy_slot(handle_of(t), (uint32_t)(place / t->slot_stride), reference.generation,
			place % t->slot_stride, data, bytes);
	return err == -ESTALE ? recycled() : err;
}

/* The frame that the observer is to have next, kept until it could be copied. */
static int next_told(struct handle *h)
{
	struct tribuf_acquired told;
	int err = h->backend->observe(h, &told);

	if (err == -EAGAIN)
		return h->owed ? 1 : 0;
	if (err)
		return err;
	if (told.slot >= TRIBUF_SLOTS || told.desc.bytes > h->t.slot_size)
		return tribuf_acquire_refused(&h->t);
	h->told = told;
	h->owed = true;
	return 1;
}

static void show_told(struct handle *h, struct tribuf_frame *frame, void *data)
{
	const struct tribuf_desc *desc = &h->told.desc;

	memcpy(h->user, desc->user, sizeof(h->user));
	frame->data = data;
	frame->bytes = desc->bytes;
	frame->seq = desc->seq;
	frame->timestamp = desc->timestamp;
	frame->cookie = desc->cookie;
	frame->user = h->user;
	frame->slot = h->told.slot;
	frame->generation = desc->generation;
	frame->format = desc->format;
	frame->flags = desc->flags & TRIBUF_FRAME_FLAGS;
}

/*
 * Nothing was told of: since what is new changed in every try, not since nothing is?
 * A spoilt word is for the next try to report.
 */
static bool outrun(struct handle *h)
{
	uint32_t word = __atomic_load_n(&h->state->word, __ATOMIC_RELAXED);

	return !tribuf_word_valid(word) || ready(h, word);
}

static int snapshot(struct handle *h, struct tribuf_frame *frame, void *data, size_t room)
{
	int tries, err;

	for (tries = 0; tries < TRIBUF_COPY_TRIES; tries++) {
		err = next_told(h);
		if (!err && outrun(h))
			continue;
		if (err <= 0)
			return err;
		if (h->told.desc.bytes > room) {
			frame->bytes = h->told.desc.bytes;
			return fail(EMSGSIZE, "the frame has %llu bytes, there is room for %zu",
				    (unsigned long long)h->told.desc.bytes, room);
		}
		h->owed = false;
		err = copy_slot(h, h->told.slot, h->told.desc.generation, 0, data,
				(size_t)h->told.desc.bytes);
		if (!err)
			show_told(h, frame, data);
		if (err != -ESTALE)
			return err ? err : 1;
	}
	return fail(EAGAIN, "the producer was faster in each of %d tries: try again",
		    TRIBUF_COPY_TRIES);
}

int tribuf_snapshot(struct tribuf *handle, struct tribuf_frame *frame, void *data, size_t room)
{
	struct handle *h = handle_of(handle);
	int err;

	if (forked(h))
		return forked_handle();
	if (h->role != TRIBUF_OBSERVER)
		return fail(EACCES, "a %s has no snapshots: open the channel with TRIBUF_OBSERVER",
			    role_name(h->role));
	err = take_geometry(h);
	if (err)
		return err == -EAGAIN ? 0 : err;
	return snapshot(h, frame, data, room);
}

int tribuf_format_set(struct tribuf *handle, const void *data, size_t bytes)
{
	struct handle *h = handle_of(handle);
	struct tribuf_format *format;
	uint32_t version;
	int err;

	if (forked(h))
		return forked_handle();
	if (h->role != TRIBUF_PRODUCER)
		return fail(EACCES, "a %s cannot set the format: the producer does",
			    role_name(h->role));
	if (bytes > sizeof(format->data))
		return fail(EMSGSIZE, "a format of %zu bytes: at most %d fit", bytes,
			    TRIBUF_FORMAT_BYTES);
	err = take_geometry(h);
	if (err == -EAGAIN)
		return fail(EAGAIN, "nobody has created the channel yet: wait for TRIBUF_GEOMETRY");
	if (err)
		return err;
	if (h->guarded)
		return guarded_format_set(h, data, bytes);
	format = &h->frames->format;
	/* Odd while it is written. */
	version = __atomic_load_n(&format->version, __ATOMIC_RELAXED) | 1;
	__atomic_store_n(&format->version, version, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memcpy(format->data, data, bytes);
	format->bytes = (uint32_t)bytes;
	version = next_version(version);
	__atomic_store_n(&format->version, version, __ATOMIC_RELEASE);
	h->t.format = version;
	return 0;
}

/* 0; -EAGAIN, not explained: it was being written. */
static int read_format(const struct tribuf_format *format, void *data, size_t *bytes,
		       uint32_t *version)
{
	uint32_t before = __atomic_load_n(&format->version, __ATOMIC_ACQUIRE);
	uint32_t length = tribuf_read_once(format->bytes);

	if (before & 1)
		return -EAGAIN;
	if (length <= sizeof(format->data))
		memcpy(data, format->data, length < *bytes ? length : *bytes);
	if (!still(&format->version, before))
		return -EAGAIN;
	if (length > sizeof(format->data))
		return fail(EPROTO, "the format claims %u bytes, of %d that it can have: mistrust the producer",
			    length, TRIBUF_FORMAT_BYTES);
	*bytes = length;
	*version = before;
	return 0;
}

int tribuf_format_get(struct tribuf *handle, void *data, size_t *bytes, uint32_t *version)
{
	struct handle *h = handle_of(handle);
	int tries, err;

	if (forked(h))
		return forked_handle();
	if (h->role == TRIBUF_KEEPER)
		return fail(EACCES, "a keeper cannot read the format: open the channel as an observer");
	err = take_geometry(h);
	if (err && err != -EAGAIN)
		return err;
	if (err) {	/* nobody can have set it */
		*bytes = 0;
		*version = 0;
		return 0;
	}
	for (tries = 0; tries < FORMAT_TRIES; tries++) {
		err = read_format(&h->frames->format, data, bytes, version);
		if (err != -EAGAIN)
			return err;
	}
	return fail(EAGAIN, "the producer was writing the format in each of %d tries: try again",
		    FORMAT_TRIES);
}
