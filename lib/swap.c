// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The swaps when the frame path could not do them: a rival was faster, the word
 * was spoilt, the argument or the role was wrong, the geometry just came, the
 * channel is guarded. Works on the mapped pages; knows no backend.
 */
#include "internal.h"

static uint32_t load_word(const struct tribuf *t)
{
	return __atomic_load_n(t->word, __ATOMIC_RELAXED);
}

int word_spoilt(uint32_t word)
{
	return fail(EPROTO,
		    "a peer has spoilt the channel's state word (%#x): its producer can replace the channel (TRIBUF_REPLACE)",
		    word);
}

static int no_geometry(void)
{
	return fail(EAGAIN,
		    "nobody has created the channel yet: wait for TRIBUF_GEOMETRY, or open it with TRIBUF_CREATE and a slot_size");
}

/*
 * A predecessor that died within tribuf_format_set() leaves an empty format. On
 * a guarded channel it cannot.
 */
static void mend_format(struct handle *h)
{
	struct tribuf_format *format = &h->frames->format;
	uint32_t version = __atomic_load_n(&format->version, __ATOMIC_RELAXED);

	if (version & 1) {
		format->bytes = 0;
		version = next_version(version);
		__atomic_store_n(&format->version, version, __ATOMIC_RELEASE);
	}
	h->t.format = version;
}

static void start_producer(struct handle *h, uint32_t word)
{
	h->t.slot = tribuf_word_back(word);
	h->t.expected = tribuf_rung(word);	/* a peer may have slept before we came */
	h->t.seen = 0;		/* no permutation: nothing for who may not acquire */
	h->t.generation = tribuf_next_generation(h->frames->desc);
	h->t.seq = tribuf_read_once(h->frames->desc[tribuf_word_newest(word)].seq);
	if (!h->guarded)
		h->t.limit = h->t.slot_size + 1;
	mend_format(h);
}

static void start_consumer(struct handle *h, uint32_t word)
{
	h->t.slot = tribuf_word_front(word);
	h->t.seen = tribuf_rung(word & ~TRIBUF_FRESH);	/* likewise */
	h->t.generation = TRIBUF_GENERATION_NONE;
}

/* Put a handle whose pages are mapped on the frame path, as its role allows. */
int start(struct handle *h)
{
	uint32_t word = __atomic_load_n(&h->state->word, __ATOMIC_ACQUIRE);

	if (h->role == TRIBUF_OBSERVER)
		return 0;
	if (!tribuf_word_valid(word))
		return word_spoilt(word);
	if (h->role == TRIBUF_PRODUCER)
		start_producer(h, word);
	else
		start_consumer(h, word);
	h->t.held = h->t.slot_size;
	if (h->guarded)
		h->t.desc = h->descs;
	else
		h->t.word = &h->state->word;
	return 0;
}

/* For a pending handle whose geometry may have come: 0 once it is mapped. */
static int arrive(struct handle *h)
{
	int err = take_geometry(h);

	return err == -EAGAIN ? no_geometry() : err;
}

/* Is the slot in hand, and what is in it, still what this handle put or took? */
static bool undisturbed(const struct handle *h, uint32_t word)
{
	const struct tribuf *t = &h->t;
	uint32_t slot = h->role == TRIBUF_PRODUCER ? tribuf_word_back(word) : tribuf_word_front(word);

	if (t->slot != slot)
		return false;
	if (h->role == TRIBUF_PRODUCER)
		return t->seq == tribuf_read_once(t->desc[tribuf_word_newest(word)].seq);
	return t->generation == TRIBUF_GENERATION_NONE ||
	       t->generation == __atomic_load_n(&t->desc[slot].generation, __ATOMIC_RELAXED);
}

int tribuf_resume(struct tribuf *t)
{
	struct handle *h = handle_of(t);
	uint32_t word;
	int err;

	if (forked(h))
		return forked_handle();
	if (h->role != TRIBUF_PRODUCER && h->role != TRIBUF_CONSUMER)
		return fail(EACCES, "a %s does not swap", role_name(h->role));
	err = arrive(h);
	if (err)
		return err;
	if (h->guarded)
		return fail(ENOTSUP, "only the kernel swaps the slots of a guarded channel");
	word = __atomic_load_n(&h->state->word, __ATOMIC_ACQUIRE);
	if (!tribuf_word_valid(word))
		return word_spoilt(word);
	if (undisturbed(h, word))
		return 0;
	err = start(h);
	return err ? err : 1;
}

/* 0: tribuf_begin() can go on. */
int tribuf_begin_slow(struct tribuf *t)
{
	struct handle *h = handle_of(t);
	int err;

	if (h->role != TRIBUF_PRODUCER)
		return fail(EACCES, "a %s cannot publish: open the channel with TRIBUF_PRODUCER",
			    role_name(h->role));
	err = arrive(h);
	if (err)
		return err;
	return h->guarded ? guarded_begin(h) : 0;
}

static int check_publish(const struct handle *h, const struct tribuf_frame *frame)
{
	if (h->role != TRIBUF_PRODUCER)
		return fail(EACCES, "a %s cannot publish: open the channel with TRIBUF_PRODUCER",
			    role_name(h->role));
	if (h->pending)
		return no_geometry();
	if (frame->seq != h->t.seq + 1 || frame->slot != h->t.slot ||
	    frame->generation != h->t.generation)
		return fail(EINVAL, "not the frame that was begun last: call tribuf_begin() before each tribuf_publish()");
	if (frame->bytes > h->t.slot_size)
		return fail(EMSGSIZE, "a frame of %llu bytes does not fit into a slot of %llu: replace the channel by one with larger slots (TRIBUF_REPLACE)",
			    (unsigned long long)frame->bytes, (unsigned long long)h->t.slot_size);
	if (frame->flags & ~TRIBUF_FRAME_FLAGS)
		return fail(EINVAL, "bits 15:0 of a frame's flags are reserved: use bits 31:16");
	return 0;
}

/* The exchange from @old took place, and its peers may have to be rung for. */
static int published(struct tribuf *t, uint32_t old, unsigned int flags)
{
	unsigned int result = (unsigned int)tribuf_published(t, t->desc, t->seq + 1, t->generation,
							     tribuf_rung(old));

	if (tribuf_publish_rings(old)) {
		if (flags & TRIBUF_NO_RING)
			return (int)(result | TRIBUF_RING_DUE);
		tribuf_ring(t);		/* -ESTALE at worst: then nobody is there to wake */
	}
	return (int)result;
}

/* A frame that is fit was described already. */
int tribuf_publish_slow(struct tribuf *t, const struct tribuf_frame *frame, unsigned int flags)
{
	struct handle *h = handle_of(t);
	int err = check_publish(h, frame);
	uint32_t word;
	int tries;

	if (err)
		return err;
	if (h->guarded)
		return guarded_publish(h, frame, flags);
	word = load_word(t);
	for (tries = 0; tries < TRIBUF_USER_TRIES; tries++) {
		if (!tribuf_word_valid(word) || tribuf_word_back(word) != t->slot)
			return word_spoilt(word);
		if (__atomic_compare_exchange_n(t->word, &word, tribuf_word_publish(word), 0,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return published(t, word, flags);
	}
	return word_spoilt(word);
}

static int check_acquire(struct handle *h)
{
	if (h->role != TRIBUF_CONSUMER)
		return fail(EACCES, "a %s owns no frame: %s", role_name(h->role),
			    h->role == TRIBUF_OBSERVER ? "use tribuf_snapshot()" :
			    "open the channel with TRIBUF_CONSUMER");
	return take_geometry(h);
}

/* 1: the slot in hand has a new frame, which its descriptor tells of. */
int tribuf_acquire_slow(struct tribuf *t)
{
	struct handle *h = handle_of(t);
	uint32_t word;
	int err, tries;

	err = check_acquire(h);
	if (err)
		return err == -EAGAIN ? 0 : err;
	if (h->guarded)
		return guarded_acquire(h);
	word = load_word(t);
	for (tries = 0; tries < TRIBUF_USER_TRIES; tries++) {
		if (!tribuf_word_valid(word) || tribuf_word_front(word) != t->slot)
			return word_spoilt(word);
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
	return word_spoilt(word);
}

int tribuf_acquire_refused(struct tribuf *t)
{
	t->generation = TRIBUF_GENERATION_NONE;
	return fail(EPROTO, "the frame claimed more bytes than its slot has and was dropped: mistrust its producer");
}

/* @acquired was checked. A guarded channel's observer has no slots to look into. */
static void show(const struct tribuf *t, const struct tribuf_acquired *acquired,
		 struct tribuf_frame *frame)
{
	const struct tribuf_desc *desc = &acquired->desc;

	frame->data = t->slots ? t->slots + (size_t)(acquired->slot * t->slot_stride) : NULL;
	frame->bytes = desc->bytes;
	frame->seq = desc->seq;
	frame->timestamp = desc->timestamp;
	frame->cookie = desc->cookie;
	frame->user = t->desc[acquired->slot].user;
	frame->slot = acquired->slot;
	frame->generation = desc->generation;
	frame->format = desc->format;
	frame->flags = desc->flags & TRIBUF_FRAME_FLAGS;
}

/* A frame that the kernel took for this consumer. @acquired was checked. */
void hold(struct handle *h, const struct tribuf_acquired *acquired)
{
	h->t.slot = acquired->slot;
	h->t.generation = acquired->desc.generation;
	if (h->guarded)
		h->descs[acquired->slot] = acquired->desc;
}

/* Is the slot that the kernel names the one that the word gives us? */
static int check_front(struct handle *h, uint32_t slot)
{
	/* Acquires the frame, as the kernel's exchange did on our behalf. */
	uint32_t word = __atomic_load_n(&h->state->word, __ATOMIC_ACQUIRE);

	if (!tribuf_word_valid(word))
		return word_spoilt(word);
	if (tribuf_word_front(word) != slot)
		return fail(ESTALE, "a later acquire has taken another frame: accept each frame before reading the next");
	return 0;
}

int tribuf_accept(struct tribuf *t, const struct tribuf_acquired *acquired,
		  struct tribuf_frame *frame)
{
	struct handle *h = handle_of(t);
	int err;

	if (forked(h))
		return forked_handle();
	if (h->role != TRIBUF_CONSUMER && h->role != TRIBUF_OBSERVER)
		return fail(EACCES, "a %s takes no frames", role_name(h->role));
	err = arrive(h);
	if (err)
		return err;
	if (acquired->slot >= TRIBUF_SLOTS || acquired->desc.bytes > t->slot_size)
		return tribuf_acquire_refused(t);
	if (h->role == TRIBUF_CONSUMER) {
		err = check_front(h, acquired->slot);
		if (err)
			return err;
		hold(h, acquired);
	} else {
		h->taken = acquired->desc.seq;
	}
	show(t, acquired, frame);
	return 0;
}

int tribuf_ref_slow(const struct tribuf *t)
{
	if (handle_of(t)->role != TRIBUF_OBSERVER && (!t->held || !tribuf_in_hand(t)))
		return fail(EINVAL, "no frame is in hand: begin or acquire one first");
	return fail(EINVAL, "a reference needs a place inside the frame's slot of %llu bytes, at a multiple of %u bytes",
		    (unsigned long long)t->slot_size, 1u << t->granule_shift);
}

/* Why the reference did not resolve: no such place, or another frame by now? */
int tribuf_deref_slow(const struct tribuf *t, struct tribuf_gen_index reference, size_t bytes)
{
	uint64_t place = (uint64_t)reference.index << t->granule_shift;
	uint64_t offset = t->slot_stride ? place % t->slot_stride : 0;

	if (!t->slot_stride || place / t->slot_stride >= TRIBUF_SLOTS || offset >= t->slot_size)
		return fail(EINVAL, "the reference's index %u is in no slot of this channel",
			    reference.index);
	if (bytes > t->slot_size - offset)
		return fail(EINVAL, "%zu bytes from the reference's place on cross the end of its slot",
			    bytes);
	return fail(ESTALE, "the frame that the reference is into is not in hand any more: copy out what is to be kept longer");
}
