/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Channels for WebAssembly modules, freestanding: the frame path of tribuf.h as it
 * is (tribuf_begin, tribuf_publish, tribuf_acquire, tribuf_ref, tribuf_deref), on a
 * window that the host has mounted in the module's memory. It is all i32 atomics in
 * that memory; only to wake a sleeping peer, or to sleep, the host is called.
 *
 *	static struct tribuf channel;
 *	struct tribuf_frame frame;
 *
 *	tribuf_wasm_open(&channel, window, TRIBUF_PRODUCER);
 *	tribuf_begin(&channel, &frame);
 *	frame.bytes = fill(frame.data, frame.bytes);
 *	tribuf_publish(&channel, &frame);
 *
 * Compile with
 *	clang --target=wasm32 -nostdlib -matomics -mbulk-memory -I lib/node/include
 *		-I lib/node/include/freestanding -I include -I include/uapi
 *		-Wl,--no-entry,--import-memory,--shared-memory,--max-memory=BYTES
 *
 * The module imports "tribuf": { ring, wait }, which the npm package's imports()
 * makes. Functions return negative errno values; there is no tribuf_explain().
 */
#ifndef TRIBUF_WASM_H
#define TRIBUF_WASM_H

#include <tribuf.h>

#define TRIBUF_IMPORT(name) __attribute__((import_module("tribuf"), import_name(name)))
/* Out of line, once, however many files of a module include this. */
#define TRIBUF_ONCE	__attribute__((weak))

#define TRIBUF_WASM_PAGE	65536u

/* The host's. @window: address in the module's memory, as it was given to mount(). */
TRIBUF_IMPORT("ring") int tribuf_host_ring(void *window);
TRIBUF_IMPORT("wait") int tribuf_host_wait(void *window, unsigned int events, int64_t timeout);

/* The geometry page of @window, whatever the size of the host's pages; or NULL. */
static inline const struct tribuf_geometry *tribuf_wasm_geometry(unsigned char *window)
{
	uint32_t page;

	for (page = 4096; page <= 65536; page *= 4) {
		const struct tribuf_geometry *g = (void *)(window + TRIBUF_PAGE_GEOMETRY * page);

		if (g->magic == TRIBUF_MAGIC && g->page_size == page)
			return g;
	}
	return NULL;
}

/**
 * tribuf_wasm_open - start on the frame path of a mounted channel
 * @t: out: the module's own; nothing needs closing
 * @window: address that the channel is mounted at
 * @role: TRIBUF_PRODUCER or TRIBUF_CONSUMER, which the host has opened it as
 *
 * Again after anybody else swapped in this role. Returns 0, -EINVAL (role),
 * -EPROTONOSUPPORT (no channel is mounted there, or of another layout), -EPROTO
 * (state word spoilt).
 */
static inline int tribuf_wasm_open(struct tribuf *t, void *window, uint32_t role)
{
	const struct tribuf_geometry *g = tribuf_wasm_geometry(window);
	struct tribuf_frames *frames;
	uint32_t word, slots;

	if (!g || g->layout != TRIBUF_LAYOUT_VERSION || g->features & ~TRIBUF_FEATURES)
		return -EPROTONOSUPPORT;
	if (role != TRIBUF_PRODUCER && role != TRIBUF_CONSUMER)
		return -EINVAL;
	slots = (TRIBUF_META_PAGES * g->page_size + TRIBUF_WASM_PAGE - 1) & -TRIBUF_WASM_PAGE;
	frames = (void *)((unsigned char *)window + TRIBUF_PAGE_FRAMES * g->page_size);
	t->word = &((struct tribuf_state *)window)->word;
	t->desc = frames->desc;
	t->slots = g->features & TRIBUF_FEATURE_SMALL ? frames->desc[0].small
						     : (unsigned char *)window + slots;
	t->slot_stride = g->slot_stride;
	t->slot_size = g->slot_size;
	t->granule_shift = (uint32_t)__builtin_ctz(g->granule);
	t->format = frames->format.version;
	word = __atomic_load_n(t->word, __ATOMIC_ACQUIRE);
	if (!tribuf_word_valid(word))
		return -EPROTO;
	t->held = g->slot_size;
	t->seq = tribuf_read_once(t->desc[tribuf_word_newest(word)].seq);
	if (role == TRIBUF_PRODUCER) {
		t->limit = g->slot_size + 1;
		t->slot = tribuf_word_back(word);
		t->expected = tribuf_rung(word);
		t->seen = 0;
		t->generation = tribuf_next_generation(t->desc);
	} else {
		t->limit = 0;
		t->slot = tribuf_word_front(word);
		t->expected = 0;
		t->seen = tribuf_rung(word & ~TRIBUF_FRESH);
		t->generation = TRIBUF_GENERATION_NONE;
	}
	return 0;
}

/* As in tribuf.h; in a worker: it blocks the thread. */
TRIBUF_ONCE int tribuf_wait(struct tribuf *t, unsigned int events, int64_t timeout)
{
	return tribuf_host_wait(t->word, events, timeout);
}

TRIBUF_ONCE int tribuf_ring(struct tribuf *t)
{
	return tribuf_host_ring(t->word);
}

/* ---- the ways out of the frame path, see lib/swap.c ---- */

TRIBUF_ONCE int tribuf_begin_slow(struct tribuf *t)
{
	(void)t;
	return -EACCES;
}

TRIBUF_ONCE int tribuf_publish_slow(struct tribuf *t, const struct tribuf_frame *frame,
				    unsigned int flags)
{
	uint32_t word = __atomic_load_n(t->word, __ATOMIC_RELAXED);
	int tries, result;

	if (!t->limit)
		return -EACCES;
	if (frame->bytes > t->slot_size)
		return -EMSGSIZE;
	if (!tribuf_publishable(t, frame))
		return -EINVAL;
	for (tries = 0; tries < TRIBUF_USER_TRIES; tries++) {
		if (!tribuf_word_valid(word) || tribuf_word_back(word) != t->slot)
			break;
		if (!__atomic_compare_exchange_n(t->word, &word, tribuf_word_publish(word), 0,
						 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		result = tribuf_published(t, t->desc, frame->seq, frame->generation,
					  tribuf_rung(word));
		if (tribuf_publish_rings(word) && flags & TRIBUF_NO_RING)
			return result | TRIBUF_RING_DUE;
		if (tribuf_publish_rings(word))
			tribuf_ring(t);
		return result;
	}
	return -EPROTO;
}

TRIBUF_ONCE int tribuf_acquire_slow(struct tribuf *t)
{
	uint32_t word = __atomic_load_n(t->word, __ATOMIC_RELAXED);
	int tries;

	if (t->limit)
		return -EACCES;
	for (tries = 0; tries < TRIBUF_USER_TRIES; tries++) {
		if (!tribuf_word_valid(word) || tribuf_word_front(word) != t->slot)
			break;
		if (!(word & TRIBUF_FRESH)) {
			t->seen = word & ~TRIBUF_PACED;
			return 0;
		}
		if (__atomic_compare_exchange_n(t->word, &word, tribuf_word_acquire(word), 0,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
			tribuf_acquired_slot(t, tribuf_word_acquire(word) & ~TRIBUF_PACED);
			if (tribuf_acquire_rings(word))
				tribuf_ring(t);
			return 1;
		}
	}
	return -EPROTO;
}

TRIBUF_ONCE int tribuf_acquire_refused(struct tribuf *t)
{
	t->generation = TRIBUF_GENERATION_NONE;
	return -EPROTO;
}

TRIBUF_ONCE int tribuf_ref_slow(const struct tribuf *t)
{
	(void)t;
	return -EINVAL;
}

TRIBUF_ONCE int tribuf_deref_slow(const struct tribuf *t, struct tribuf_gen_index reference,
				  size_t bytes)
{
	uint64_t place = (uint64_t)reference.index << t->granule_shift;
	uint64_t offset = place % t->slot_stride;

	if (place / t->slot_stride >= TRIBUF_SLOTS || offset >= t->slot_size ||
	    bytes > t->slot_size - offset)
		return -EINVAL;
	return -ESTALE;
}

#endif /* TRIBUF_WASM_H */
