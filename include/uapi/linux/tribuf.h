/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */
/*
 * tribuf: triple-buffered shared-memory channels, /dev/tribuf
 *
 * This header is the whole contract between the module, libtribuf and any
 * other program: the pages that peers share, the ioctls, and the transitions
 * of the state word. The transitions are pure functions on a __u32; kernel,
 * library, model and tests all use the ones below, so that they cannot
 * disagree. Nothing here knows about either implementation.
 *
 * Words. A *channel* has three *slots*. A producer writes a *frame* into the
 * *back* slot and *publishes* it: back and *middle* (the mailbox) change
 * places. The consumer *acquires* the newest frame: middle and *front* change
 * places. Observers look on, keepers hold a channel open. To *ring* is to wake
 * a peer that sleeps.
 */
#ifndef _UAPI_LINUX_TRIBUF_H
#define _UAPI_LINUX_TRIBUF_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * DOC: Layout version
 *
 * The frame path runs inline in programs, so the pages are ABI. A program
 * passes the layout version that it was compiled with to ATTACH and is refused
 * with EPROTONOSUPPORT if the module speaks another one. Within a version,
 * @features of the geometry page only ever gains bits; a program that finds
 * one that it does not know must not use the frame path.
 */
#define TRIBUF_LAYOUT_VERSION	1
#define TRIBUF_MAGIC		0x46554254	/* "TBUF", little-endian */
#define TRIBUF_BYTE_ORDER	0x01020304

#define TRIBUF_SLOTS		3	/* slots of a channel */
#define TRIBUF_DESC_MAX		8	/* descriptors that page 1 has room for */
#define TRIBUF_NAME_SIZE	64	/* bytes of a name, with its NUL */
#define TRIBUF_USER_BYTES	64	/* a frame's own bytes in its descriptor */
#define TRIBUF_SMALL_BYTES	16	/* the largest slot that lies in its descriptor */
#define TRIBUF_FORMAT_BYTES	1024	/* capacity of the format area */
#define TRIBUF_GRANULE_DEFAULT	8	/* bytes per step of a reference's index */
#define TRIBUF_GRANULE_MAX	4096
#define TRIBUF_OBSERVERS_MAX	64	/* per channel */
#define TRIBUF_TRIES		64	/* bound of the kernel's compare-and-exchange loops */
#define TRIBUF_USER_TRIES	65536	/* and of everybody else's, see below */

/**
 * DOC: The state word
 *
 * One __u32 owns the channel. Bits 5:0 say which slot is back, middle and
 * front; they are always a permutation of {0, 1, 2}, so a peer that dies
 * leaves nothing to repair. The count makes the word change with every
 * publish; it is never compared for "newer".
 *
 * The word is input from another process. Whoever loads it checks
 * tribuf_word_valid() and that it still gives them the slot that they own,
 * else EPROTO, and retries a compare-and-exchange at most TRIBUF_TRIES times. In
 * the kernel, that is: there the loop is a few instructions, and its rival needs
 * more for a swap. A program may need longer than its peer (interpreted, checked by
 * valgrind, on an emulated processor), and then fails for as long as nothing
 * interrupts that: TRIBUF_USER_TRIES outlast a tick of 4 ms, and are over within
 * 20 ms, at 60 to 300 ns for each, if the peer means harm.
 *
 * Every exchange is acquire-release: publish releases the frame's bytes;
 * acquire also releases the consumer's reads of the slot that it gives back.
 */
#define TRIBUF_BACK_SHIFT	0
#define TRIBUF_MIDDLE_SHIFT	2
#define TRIBUF_FRONT_SHIFT	4
#define TRIBUF_SLOT_MASK	0x3u
#define TRIBUF_SLOTS_MASK	0x3fu
#define TRIBUF_FRESH		(1u << 6)	/* mailbox holds a frame not taken yet */
#define TRIBUF_ARMED		(1u << 7)	/* consumer sleeps: ring when FRESH goes 0 -> 1 */
#define TRIBUF_WATCHED		(1u << 8)	/* an observer sleeps: ring at every publish */
#define TRIBUF_PACED		(1u << 9)	/* producer sleeps: ring when FRESH goes 1 -> 0 */
#define TRIBUF_COUNT_SHIFT	10
#define TRIBUF_COUNT_ONE	(1u << TRIBUF_COUNT_SHIFT)

/* A new channel: back 0, middle 1, front 2, nothing fresh, nobody asleep. */
#define TRIBUF_WORD_INIT	(0u << TRIBUF_BACK_SHIFT | 1u << TRIBUF_MIDDLE_SHIFT | \
				 2u << TRIBUF_FRONT_SHIFT)

/* Bit n is set if n, as bits 5:0 of a word, is one of the six permutations. */
#define TRIBUF_PERMUTATIONS	(1ull << 0x24 | 1ull << 0x18 | 1ull << 0x21 | \
				 1ull << 0x09 | 1ull << 0x12 | 1ull << 0x06)

static __inline__ __u32 tribuf_word_back(__u32 word)
{
	return word >> TRIBUF_BACK_SHIFT & TRIBUF_SLOT_MASK;
}

static __inline__ __u32 tribuf_word_middle(__u32 word)
{
	return word >> TRIBUF_MIDDLE_SHIFT & TRIBUF_SLOT_MASK;
}

static __inline__ __u32 tribuf_word_front(__u32 word)
{
	return word >> TRIBUF_FRONT_SHIFT & TRIBUF_SLOT_MASK;
}

/* Publishes modulo 2^22. */
static __inline__ __u32 tribuf_word_count(__u32 word)
{
	return word >> TRIBUF_COUNT_SHIFT;
}

static __inline__ int tribuf_word_valid(__u32 word)
{
	return (int)(TRIBUF_PERMUTATIONS >> (word & TRIBUF_SLOTS_MASK) & 1);
}

/* The slot of the newest published frame; meaningless before the first one. */
static __inline__ __u32 tribuf_word_newest(__u32 word)
{
	return word & TRIBUF_FRESH ? tribuf_word_middle(word) : tribuf_word_front(word);
}

/* publish: back <-> middle, FRESH, one more counted. */
static __inline__ __u32 tribuf_word_publish(__u32 word)
{
	__u32 differ = (word ^ word >> 2) & TRIBUF_SLOT_MASK;

	return ((word + TRIBUF_COUNT_ONE) ^
		(differ << TRIBUF_BACK_SHIFT | differ << TRIBUF_MIDDLE_SHIFT)) | TRIBUF_FRESH;
}

static __inline__ __u32 tribuf_word_swap_front(__u32 word)
{
	__u32 differ = (word ^ word >> 2) & TRIBUF_SLOT_MASK << TRIBUF_MIDDLE_SHIFT;

	return word ^ (differ | differ << 2);
}

/* acquire: middle <-> front, FRESH cleared. Only for a word with FRESH set. */
static __inline__ __u32 tribuf_word_acquire(__u32 word)
{
	return tribuf_word_swap_front(word) & ~TRIBUF_FRESH;
}

/*
 * redeliver: the frame in front goes back to the mailbox, for a new consumer.
 * Only at attach, for a word with FRESH clear, once a frame was published.
 */
static __inline__ __u32 tribuf_word_redeliver(__u32 word)
{
	return tribuf_word_swap_front(word) | TRIBUF_FRESH;
}

/* Must the producer ring after a publish that found @old? */
static __inline__ int tribuf_publish_rings(__u32 old)
{
	return (old & (TRIBUF_FRESH | TRIBUF_ARMED)) == TRIBUF_ARMED || (old & TRIBUF_WATCHED);
}

/* Must the consumer ring after an acquire that found @old? */
static __inline__ int tribuf_acquire_rings(__u32 old)
{
	return (old & TRIBUF_PACED) != 0;
}

/**
 * DOC: Generations
 *
 * A slot's generation is odd while a frame is being written into it and even
 * once that frame is published. It does not repeat until 2^31 frames of the
 * channel have passed; @seq never repeats.
 */

/* begin: an even generation becomes odd; a frame already begun stays begun. */
static __inline__ __u32 tribuf_generation_begin(__u32 generation)
{
	return generation | 1;
}

/* publish: the next even value, whether or not the frame was begun. */
static __inline__ __u32 tribuf_generation_publish(__u32 generation)
{
	return (generation | 1) + 1;
}

/*
 * takeover: the next odd value strictly greater, so that a crashed writer does
 * not lend its generation to its successor's frame.
 */
static __inline__ __u32 tribuf_generation_takeover(__u32 generation)
{
	return (generation + 1) | 1;
}

/**
 * DOC: Pages
 *
 * Offsets for mmap() on an attached handle. A mapping lies within one region,
 * is MAP_SHARED and never executable:
 *
 * ============================ ========= ========= =========
 * region                       producer  consumer  observer
 * ============================ ========= ========= =========
 * page 0: struct tribuf_state  rw        rw        r
 * page 1: struct tribuf_frames rw        r         r
 * page 2: tribuf_geometry      r         r         r
 * slots, at @slots_offset      rw        r         r
 * ============================ ========= ========= =========
 *
 * Small slots lie in page 1, see below. Keepers map page 2 alone. A page is as
 * large as the kernel's: page N starts at N * sysconf(_SC_PAGESIZE). On a guarded
 * channel page 0 is read-only to all, page 1 too, and the slots answer only to their
 * owner of the moment: a touch of another one is SIGBUS. Observers cannot map them.
 *
 * mmap() errors: EINVAL (MAP_PRIVATE, or not within one region), EACCES (the role
 * may not read or write there, or PROT_EXEC), EAGAIN (all but page 2 while PENDING),
 * ENOTCONN (before ATTACH), ESTALE (the role ended). What may not be written
 * cannot be made writable by mprotect() either (EACCES). Pages come with the
 * first touch, those of a direct channel at once with MAP_POPULATE, which stops at a
 * gap, so map slots that have gaps one by one. When the role ends, a touch is SIGBUS,
 * as it is in the gap behind a slot's last page.
 */
#define TRIBUF_PAGE_STATE	0
#define TRIBUF_PAGE_FRAMES	1
#define TRIBUF_PAGE_GEOMETRY	2
#define TRIBUF_META_PAGES	3

/**
 * struct tribuf_state - page 0
 * @word: the state word, alone in its page, for it is written by both peers
 */
struct tribuf_state {
	__u32 word;
};

/**
 * struct tribuf_desc - descriptor of the frame in one slot
 * @generation: see DOC: Generations
 * @flags: bits 15:0 are reserved and zero, bits 31:16 belong to the user
 * @seq: frame number, 1 for a channel's first; 0: never published
 * @bytes: length of the frame, at most the slot size; a reader checks it
 * @timestamp: ns on CLOCK_MONOTONIC, 0: not stamped
 * @cookie: the user's own
 * @format: version of the format area that the frame was made under
 * @reserved: zero
 * @small: the slot, if it is a small one, see DOC: Small slots
 * @user: the user's own
 *
 * Two cache lines: what the library reads for each frame is in the first.
 */
struct tribuf_desc {
	__u32 generation;
	__u32 flags;
	__aligned_u64 seq;
	__aligned_u64 bytes;
	__aligned_u64 timestamp;
	__aligned_u64 cookie;
	__u32 format;
	__u32 reserved;
	__u8 small[TRIBUF_SMALL_BYTES];
	__u8 user[TRIBUF_USER_BYTES];
};

/**
 * DOC: Small slots
 *
 * A frame takes two cache lines from producer to consumer, its descriptor's and its
 * own. Slots of at most TRIBUF_SMALL_BYTES save the second: they lie in @small of
 * their descriptors, unless the channel is guarded, or its references go by steps
 * larger than a descriptor. The geometry says so (TRIBUF_FEATURE_SMALL), and has
 * @slots_offset and @slot_stride as always; but there are no slots to map beside
 * page 1, and none that the kernel could replace where a producer died whose device
 * still writes to them.
 */
static __inline__ int tribuf_slots_are_small(__u64 slot_size, __u32 granule)
{
	return slot_size <= TRIBUF_SMALL_BYTES && granule <= sizeof(struct tribuf_desc);
}

/**
 * struct tribuf_format - how to read the frames (caps, width, height, ...)
 * @version: even: stable, odd: being written, 0: never set. A seqlock.
 * @bytes: length of @data, at most TRIBUF_FORMAT_BYTES; a reader checks it
 * @reserved: zero
 * @data: the user's own
 */
struct tribuf_format {
	__u32 version;
	__u32 bytes;
	__u32 reserved[14];
	__u8 data[TRIBUF_FORMAT_BYTES];
};

/**
 * struct tribuf_frames - page 1, written by the producer
 * @desc: one descriptor per slot; the first @slots of the geometry are used
 * @overwritten: frames replaced in the mailbox before anyone took them
 * @reserved: zero
 * @format: the format area
 */
struct tribuf_frames {
	struct tribuf_desc desc[TRIBUF_DESC_MAX];
	__aligned_u64 overwritten;
	__aligned_u64 reserved[127];
	struct tribuf_format format;
};

/* tribuf_geometry.flags, tribuf_info_args.state, tribuf_list_entry.state */
#define TRIBUF_STATE_GUARDED	(1u << 0)	/* the kernel swaps and enforces */
#define TRIBUF_STATE_PENDING	(1u << 1)	/* the geometry is not known yet */
#define TRIBUF_STATE_REPLACED	(1u << 2)	/* a newer channel has the name: ESTALE */
#define TRIBUF_STATE_PRODUCER	(1u << 3)	/* a producer is attached */
#define TRIBUF_STATE_CONSUMER	(1u << 4)	/* a consumer is attached */
#define TRIBUF_STATE_HAD_PRODUCER (1u << 5)	/* one was, now or before */
#define TRIBUF_STATE_HAD_CONSUMER (1u << 6)

/* tribuf_geometry.features */
#define TRIBUF_FEATURE_SMALL	(1u << 0)	/* the slots lie in the descriptors */
#define TRIBUF_FEATURES		TRIBUF_FEATURE_SMALL	/* those that this header knows */

/**
 * struct tribuf_geometry - page 2, written by the kernel, read-only to all
 * @magic: TRIBUF_MAGIC
 * @layout: TRIBUF_LAYOUT_VERSION
 * @byte_order: TRIBUF_BYTE_ORDER in the writer's order
 * @features: TRIBUF_FEATURE_*: what the frame path must know of the layout
 * @channel: id of the channel, unique until the module is unloaded
 * @slot_size: bytes of a slot that a frame may use; 0 while PENDING
 * @slot_stride: bytes from one slot's first byte to the next one's. The bytes
 *	between the page that ends a slot and the next slot are not backed.
 * @slots_offset: mmap offset of slot 0, a multiple of the slots' alignment; of
 *	small slots the place of the first in the file
 * @slots: number of slots, 3
 * @granule: bytes per step of a reference's index, a power of two
 * @page_size: bytes of a page
 * @state: TRIBUF_STATE_*, may change at any time
 * @producer_epoch: producers that have attached so far; changes at takeover
 * @consumer_epoch: the same for consumers
 * @reserved: zero
 */
struct tribuf_geometry {
	__u32 magic;
	__u32 layout;
	__u32 byte_order;
	__u32 features;
	__aligned_u64 channel;
	__aligned_u64 slot_size;
	__aligned_u64 slot_stride;
	__aligned_u64 slots_offset;
	__u32 slots;
	__u32 granule;
	__u32 page_size;
	__u32 state;
	__u32 producer_epoch;
	__u32 consumer_epoch;
	__aligned_u64 reserved[16];
};

/**
 * struct tribuf_gen_index - a reference into a frame, to be stored or sent
 * @index: granules from the first byte of slot 0 (slots are @slot_stride apart)
 * @generation: generation of the slot when the reference was made, even for a
 *	published frame, odd for one that is being written
 */
struct tribuf_gen_index {
	__u32 index;
	__u32 generation;
};

/* A handle's role: what its process is to the channel. */
#define TRIBUF_PRODUCER		1	/* one; needs a handle open for reading and writing */
#define TRIBUF_CONSUMER		2	/* one; the same (guarded: reading) */
#define TRIBUF_OBSERVER		3	/* up to 64; reading */
#define TRIBUF_KEEPER		4	/* any number; reading */

#define TRIBUF_GRANT(role)	(1u << (role))
#define TRIBUF_GRANT_ALL	(TRIBUF_GRANT(TRIBUF_PRODUCER) | TRIBUF_GRANT(TRIBUF_CONSUMER) | \
				 TRIBUF_GRANT(TRIBUF_OBSERVER) | TRIBUF_GRANT(TRIBUF_KEEPER))

/* tribuf_attach_args.flags */
#define TRIBUF_CREATE		(1u << 0)	/* make the channel if there is none */
#define TRIBUF_EXCL		(1u << 1)	/* with CREATE: EEXIST if there is one */
#define TRIBUF_REPLACE		(1u << 2)	/* with CREATE, producer: take the name over */
#define TRIBUF_PENDING		(1u << 3)	/* wait for a creator: geometry comes later */
#define TRIBUF_LATEST		(1u << 4)	/* consumer: get the newest frame once more */
#define TRIBUF_OWNED		(1u << 5)	/* the role ends with this process's file table */
#define TRIBUF_OWNER		(1u << 6)	/* only a channel of the caller's own or root's */
#define TRIBUF_GUARDED		(1u << 7)	/* the kernel enforces who touches which slot */
#define TRIBUF_ANONYMOUS	(1u << 8)	/* with CREATE: a channel without a name */
#define TRIBUF_BY_FD		(1u << 9)	/* the channel of the handle in @fd, not @name */
#define TRIBUF_ATTACH_FLAGS	((1u << 10) - 1)

/**
 * struct tribuf_attach_args - TRIBUF_IOC_ATTACH
 * @size: sizeof(struct tribuf_attach_args)
 * @flags: TRIBUF_CREATE ... TRIBUF_BY_FD
 * @role: TRIBUF_PRODUCER, _CONSUMER, _OBSERVER or _KEEPER
 * @layout: TRIBUF_LAYOUT_VERSION
 * @name: 1 to 63 bytes and a NUL, none of them '/', a blank or a control
 *	character, not "." or ".."; all zero with ANONYMOUS or BY_FD
 * @fd: with BY_FD: a handle of the channel that grants @role; else -1
 * @mode: permission bits of a new channel (0777), less the umask; else ignored
 * @slot_size: bytes of a slot. Needed to CREATE (else EINVAL). Otherwise 0
 *	takes the channel's, anything else must be the channel's. Out: the
 *	channel's, 0 while PENDING
 * @granule: bytes per step of a reference's index, a power of two of at most
 *	4096, 0: the channel's, or 8 for a new one. Out: the channel's
 * @grants: with BY_FD: TRIBUF_GRANT() of the roles for which the new handle may
 *	serve in @fd in turn, a subset of what @fd grants. Otherwise 0: the
 *	creator's handle grants all, any other none. Out: what the handle grants
 * @slot_stride: out: as in struct tribuf_geometry
 * @slots_offset: out: likewise
 * @channel: out: id of the channel
 * @uid: out: its owner, in the caller's user namespace
 * @state: out: TRIBUF_STATE_*
 * @producer_epoch: out: as in struct tribuf_geometry, this attach included
 * @consumer_epoch: out: likewise
 * @created: out: 1 if this call made the channel
 * @redelivered: out: 1 if LATEST put the newest frame back into the mailbox
 * @reserved: zero
 *
 * GUARDED asks for a guarded channel: none of the other kind is joined (EINVAL).
 * CREATE without it asks for a direct one in the same way. Who neither creates nor
 * asks for it joins either kind, and finds TRIBUF_STATE_GUARDED in @state. While a
 * channel is PENDING, the first attach with GUARDED makes it a guarded one. Who makes
 * somebody else's channel guarded, or brings its geometry, has to have the right to
 * write, in any role.
 *
 * The first frame of a channel that nobody published in stays away: LATEST does
 * nothing then, nor does it if a fresh frame already waits.
 *
 * Errors, each of which leaves everything as it was:
 * EINVAL (size, unknown flag, role, name, combination, geometry or GUARDED of
 * the channel differs), E2BIG (fields that this module does not know are set),
 * EPROTONOSUPPORT (layout), ENAMETOOLONG, ENOENT (no such channel, no CREATE or
 * PENDING), EEXIST (EXCL), EISCONN (this handle is attached already), EBUSY
 * (the role is taken), EACCES (mode bits, the handle's open mode, or @fd does
 * not grant the role), EPERM (OWNER, REPLACE by another than the owner, or
 * @grants exceeds what @fd grants), EBADF (@fd is no handle), ENOTCONN (@fd is
 * not attached), ESTALE (the channel of @fd is gone or replaced), EFBIG (limit
 * per channel), ENOSPC (limits per user), ENOMEM, EINTR, EPROTO (the state word
 * was spoilt: REPLACE the channel), EOPNOTSUPP (GUARDED on this kernel), EFAULT (but
 * if the memory went during the call, the role has been had, and is over).
 */
struct tribuf_attach_args {
	__u32 size;
	__u32 flags;
	__u32 role;
	__u32 layout;
	__u8 name[TRIBUF_NAME_SIZE];
	__s32 fd;
	__u32 mode;
	__aligned_u64 slot_size;
	__u32 granule;
	__u32 grants;
	__aligned_u64 slot_stride;
	__aligned_u64 slots_offset;
	__aligned_u64 channel;
	__u32 uid;
	__u32 state;
	__u32 producer_epoch;
	__u32 consumer_epoch;
	__u32 created;
	__u32 redelivered;
	__aligned_u64 reserved[4];
};

/* tribuf_publish_args.flags */
#define TRIBUF_NO_RING		(1u << 0)	/* leave the ring to another thread */

/* tribuf_publish_args.result */
#define TRIBUF_OVERWROTE	(1u << 0)	/* the frame before was never taken */
#define TRIBUF_RING_DUE		(1u << 1)	/* NO_RING, and somebody has to ring */

/**
 * struct tribuf_publish_args - TRIBUF_IOC_PUBLISH, producer only
 * @size: sizeof(struct tribuf_publish_args)
 * @flags: TRIBUF_NO_RING
 * @bytes: length of the frame in the back slot
 * @timestamp: ns on CLOCK_MONOTONIC, 0: not stamped
 * @cookie: the user's own
 * @frame_flags: bits 31:16 are the user's, bits 15:0 zero
 * @result: out: TRIBUF_OVERWROTE, TRIBUF_RING_DUE
 * @user: the user's own
 * @seq: out: number of the frame
 * @generation: out: its generation
 * @slot: out: the slot that holds it
 * @back: out: the slot to write the next frame into
 * @reserved: zero
 *
 * Errors: EINVAL, E2BIG, EFAULT, ENOTCONN (not attached), EACCES (not the
 * producer), EMSGSIZE (@bytes exceeds the slot), EAGAIN (PENDING), ESTALE (role
 * ended, channel replaced), EPROTO (state word spoilt).
 */
struct tribuf_publish_args {
	__u32 size;
	__u32 flags;
	__aligned_u64 bytes;
	__aligned_u64 timestamp;
	__aligned_u64 cookie;
	__u32 frame_flags;
	__u32 result;
	__u8 user[TRIBUF_USER_BYTES];
	__aligned_u64 seq;
	__u32 generation;
	__u32 slot;
	__u32 back;
	__u32 reserved;
};

/**
 * struct tribuf_acquired - a frame that was taken; also what read() returns
 * @slot: the slot that holds it
 * @reserved: zero
 * @desc: copy of its descriptor
 */
struct tribuf_acquired {
	__u32 slot;
	__u32 reserved;
	struct tribuf_desc desc;
};

/**
 * struct tribuf_acquire_args - TRIBUF_IOC_ACQUIRE, consumer and observers
 * @size: sizeof(struct tribuf_acquire_args)
 * @flags: zero
 * @frame: out: the newest frame
 *
 * A consumer owns the slot until its next acquire. An observer owns nothing: it
 * is told of the newest frame, which the kernel notes as the newest that this
 * handle has taken, and copies with TRIBUF_IOC_COPY or a generation check.
 *
 * Errors: EINVAL, E2BIG, EFAULT, ENOTCONN, EACCES (producer, keeper), EAGAIN
 * (nothing new, or an observer was outrun in every try), ESTALE, EPROTO (state
 * word spoilt; or the frame claims more bytes than a slot: it is dropped).
 */
struct tribuf_acquire_args {
	__u32 size;
	__u32 flags;
	struct tribuf_acquired frame;
};

/**
 * struct tribuf_copy_args - TRIBUF_IOC_COPY, any role but keeper
 * @size: sizeof(struct tribuf_copy_args)
 * @flags: zero
 * @slot: the slot to copy from
 * @generation: the frame's, checked before and after copying
 * @offset: first byte within the slot
 * @bytes: how many
 * @buf: where to; unspecified after ESTALE
 * @reserved: zero
 *
 * Errors: EINVAL (slot; offset and bytes leave the slot), E2BIG, EFAULT,
 * ENOTCONN, EACCES (keeper), ESTALE (another frame is in the slot, or came
 * while copying; role ended, channel replaced), EINTR, EAGAIN (PENDING).
 */
struct tribuf_copy_args {
	__u32 size;
	__u32 flags;
	__u32 slot;
	__u32 generation;
	__aligned_u64 offset;
	__aligned_u64 bytes;
	__aligned_u64 buf;
	__aligned_u64 reserved;
};

/* tribuf_format_args.flags */
#define TRIBUF_FORMAT_SET	(1u << 0)	/* write (producer only); else read */

/**
 * struct tribuf_format_args - TRIBUF_IOC_FORMAT, any role but keeper
 * @size: sizeof(struct tribuf_format_args)
 * @flags: TRIBUF_FORMAT_SET
 * @version: out: version of the format read or written, 0: never set
 * @bytes: SET: length of @buf. Read: room in @buf; out: length of the format,
 *	of which as much as fits was copied
 * @buf: the format
 * @reserved: zero
 *
 * Errors: EINVAL, E2BIG, EFAULT, ENOTCONN, EACCES (SET by another than the
 * producer; keeper), EMSGSIZE (SET of more than 1024 bytes), EAGAIN (it was
 * being written in every try), EPROTO (it claims more than 1024 bytes), ESTALE,
 * ENOMEM.
 */
struct tribuf_format_args {
	__u32 size;
	__u32 flags;
	__u32 version;
	__u32 bytes;
	__aligned_u64 buf;
	__aligned_u64 reserved;
};

/* tribuf_info_args.flags */
#define TRIBUF_INFO_PEEK	(1u << 0)	/* leave EPOLLPRI as it is */

/**
 * struct tribuf_info_args - TRIBUF_IOC_INFO, any attached handle
 * @size: sizeof(struct tribuf_info_args)
 * @flags: TRIBUF_INFO_PEEK
 * @channel: id of the channel
 * @name: its name, all zero if it has none
 * @slot_size: as in struct tribuf_geometry, likewise what follows
 * @slot_stride: see there
 * @slots_offset: see there
 * @slots: see there
 * @granule: see there
 * @state: TRIBUF_STATE_*
 * @role: role of this handle
 * @uid: owner, in the caller's user namespace, likewise @gid
 * @gid: group
 * @mode: permission bits
 * @grants: roles that this handle grants
 * @producer_epoch: producers that have attached so far
 * @consumer_epoch: consumers that have attached so far
 * @producer_pid: process of the producer in the caller's PID namespace; 0: there
 *	is none, or it is not visible from there
 * @consumer_pid: likewise
 * @observers: attached now
 * @keepers: attached now
 * @kernel_publishes: publishes by TRIBUF_IOC_PUBLISH
 * @kernel_acquires: acquires by TRIBUF_IOC_ACQUIRE and read(), consumer only
 * @kernel_rings: rings by any side
 * @kernel_wakes: rings that found somebody asleep
 * @kernel_sleeps: times that a handle was armed to sleep
 * @kernel_redelivered: frames given again to a new consumer (LATEST)
 * @kernel_guard_faults: touches of a guarded slot by another than its owner
 * @claimed_word: state word; this and the other claims are read from shared
 *	memory, where a hostile peer can write anything
 * @claimed_format: version of the format area
 * @claimed_seq: number of the newest frame, which is how many were published
 * @claimed_bytes: its length
 * @claimed_timestamp: its time stamp
 * @claimed_overwritten: frames that were replaced before they were taken
 * @reserved: zero
 *
 * Clears this handle's EPOLLPRI. Works on a replaced channel, and tells so.
 * Errors: EINVAL, E2BIG, EFAULT, ENOTCONN, ESTALE (the role ended).
 */
struct tribuf_info_args {
	__u32 size;
	__u32 flags;
	__aligned_u64 channel;
	__u8 name[TRIBUF_NAME_SIZE];
	__aligned_u64 slot_size;
	__aligned_u64 slot_stride;
	__aligned_u64 slots_offset;
	__u32 slots;
	__u32 granule;
	__u32 state;
	__u32 role;
	__u32 uid;
	__u32 gid;
	__u32 mode;
	__u32 grants;
	__u32 producer_epoch;
	__u32 consumer_epoch;
	__s32 producer_pid;
	__s32 consumer_pid;
	__u32 observers;
	__u32 keepers;
	__aligned_u64 kernel_publishes;
	__aligned_u64 kernel_acquires;
	__aligned_u64 kernel_rings;
	__aligned_u64 kernel_wakes;
	__aligned_u64 kernel_sleeps;
	__aligned_u64 kernel_redelivered;
	__aligned_u64 kernel_guard_faults;
	__u32 claimed_word;
	__u32 claimed_format;
	__aligned_u64 claimed_seq;
	__aligned_u64 claimed_bytes;
	__aligned_u64 claimed_timestamp;
	__aligned_u64 claimed_overwritten;
	__aligned_u64 reserved[8];
};

/**
 * struct tribuf_list_entry - one channel, as TRIBUF_IOC_LIST tells of it
 * @channel: its id; what follows is as in struct tribuf_info_args
 * @name: its name
 * @slot_size: bytes of a slot
 * @claimed_seq: number of the newest frame
 * @state: TRIBUF_STATE_*
 * @uid: owner
 * @gid: group
 * @mode: permission bits
 * @producer_pid: process of the producer
 * @consumer_pid: process of the consumer
 * @observers: attached now
 * @keepers: attached now
 */
struct tribuf_list_entry {
	__aligned_u64 channel;
	__u8 name[TRIBUF_NAME_SIZE];
	__aligned_u64 slot_size;
	__aligned_u64 claimed_seq;
	__u32 state;
	__u32 uid;
	__u32 gid;
	__u32 mode;
	__s32 producer_pid;
	__s32 consumer_pid;
	__u32 observers;
	__u32 keepers;
};

/**
 * struct tribuf_list_args - TRIBUF_IOC_LIST, any handle, attached or not
 * @size: sizeof(struct tribuf_list_args)
 * @flags: zero
 * @cursor: in: 0 to start, later what the call before left here; out: where to
 *	go on
 * @entries: array of struct tribuf_list_entry
 * @count: in: entries that fit, at least 1; out: entries written, fewer than fit
 *	once there are no more
 * @entry_size: sizeof(struct tribuf_list_entry)
 *
 * Lists the channels of the caller's IPC namespace that the caller may read.
 * Errors: EINVAL, E2BIG, EFAULT, ENOMEM.
 */
struct tribuf_list_args {
	__u32 size;
	__u32 flags;
	__aligned_u64 cursor;
	__aligned_u64 entries;
	__u32 count;
	__u32 entry_size;
};

/**
 * DOC: ioctls
 *
 * An unknown command gets ENOTTY. Every struct starts with its size: one that
 * is shorter than the first version's gets EINVAL, one that is longer is taken
 * if what this module does not know is zero, else E2BIG.
 *
 * TRIBUF_IOC_RING takes no argument (0). A producer wakes the consumer and the
 * observers, a consumer the producer, whoever of them sleeps and has something
 * to see. Errors: ENOTCONN, EACCES (another role), EINVAL (argument), ESTALE.
 *
 * read() on a consumer's or observer's handle takes the next frame and returns
 * its struct tribuf_acquired. It blocks while a producer is there or none has
 * come yet. Errors: EINVAL (fewer bytes), EAGAIN (O_NONBLOCK, nothing new),
 * EINTR, otherwise as ACQUIRE; 0: the producer has left and nothing is fresh.
 *
 * poll(): EPOLLIN, consumer: a frame is fresh; observer: there is a newer frame
 * than the one that it last took. EPOLLOUT, producer: the mailbox is empty.
 * EPOLLRDHUP: the peer was once there and is gone. EPOLLPRI: an epoch or the
 * geometry changed since this handle's last INFO. EPOLLERR: this handle's role
 * has ended, or its channel was replaced.
 */
#define TRIBUF_IOC_MAGIC	0xBC
#define TRIBUF_IOC_ATTACH	_IOWR(TRIBUF_IOC_MAGIC, 0, struct tribuf_attach_args)
#define TRIBUF_IOC_PUBLISH	_IOWR(TRIBUF_IOC_MAGIC, 1, struct tribuf_publish_args)
#define TRIBUF_IOC_ACQUIRE	_IOWR(TRIBUF_IOC_MAGIC, 2, struct tribuf_acquire_args)
#define TRIBUF_IOC_RING		_IO(TRIBUF_IOC_MAGIC, 3)
#define TRIBUF_IOC_COPY		_IOW(TRIBUF_IOC_MAGIC, 4, struct tribuf_copy_args)
#define TRIBUF_IOC_FORMAT	_IOWR(TRIBUF_IOC_MAGIC, 5, struct tribuf_format_args)
#define TRIBUF_IOC_INFO		_IOWR(TRIBUF_IOC_MAGIC, 6, struct tribuf_info_args)
#define TRIBUF_IOC_LIST		_IOWR(TRIBUF_IOC_MAGIC, 7, struct tribuf_list_args)

/*
 * The ABI, checked by every compiler that reads it: each struct's size and the
 * offset of each field after a place where padding could creep in.
 */
#ifdef __cplusplus
#define TRIBUF_ABI(expression) static_assert(expression, #expression)
#else
#define TRIBUF_ABI(expression) _Static_assert(expression, #expression)
#endif
#define TRIBUF_ABI_AT(type, field, offset) \
	TRIBUF_ABI(__builtin_offsetof(struct type, field) == (offset))

TRIBUF_ABI(sizeof(struct tribuf_state) == 4);

TRIBUF_ABI(sizeof(struct tribuf_desc) == 128);
TRIBUF_ABI_AT(tribuf_desc, generation, 0);
TRIBUF_ABI_AT(tribuf_desc, flags, 4);
TRIBUF_ABI_AT(tribuf_desc, seq, 8);
TRIBUF_ABI_AT(tribuf_desc, bytes, 16);
TRIBUF_ABI_AT(tribuf_desc, timestamp, 24);
TRIBUF_ABI_AT(tribuf_desc, cookie, 32);
TRIBUF_ABI_AT(tribuf_desc, format, 40);
TRIBUF_ABI_AT(tribuf_desc, reserved, 44);
TRIBUF_ABI_AT(tribuf_desc, small, 48);
TRIBUF_ABI_AT(tribuf_desc, user, 64);

TRIBUF_ABI(sizeof(struct tribuf_format) == 64 + TRIBUF_FORMAT_BYTES);
TRIBUF_ABI_AT(tribuf_format, version, 0);
TRIBUF_ABI_AT(tribuf_format, bytes, 4);
TRIBUF_ABI_AT(tribuf_format, reserved, 8);
TRIBUF_ABI_AT(tribuf_format, data, 64);

TRIBUF_ABI(sizeof(struct tribuf_frames) == 3136);
TRIBUF_ABI_AT(tribuf_frames, desc, 0);
TRIBUF_ABI_AT(tribuf_frames, overwritten, 1024);
TRIBUF_ABI_AT(tribuf_frames, reserved, 1032);
TRIBUF_ABI_AT(tribuf_frames, format, 2048);

TRIBUF_ABI(sizeof(struct tribuf_geometry) == 200);
TRIBUF_ABI_AT(tribuf_geometry, magic, 0);
TRIBUF_ABI_AT(tribuf_geometry, layout, 4);
TRIBUF_ABI_AT(tribuf_geometry, byte_order, 8);
TRIBUF_ABI_AT(tribuf_geometry, features, 12);
TRIBUF_ABI_AT(tribuf_geometry, channel, 16);
TRIBUF_ABI_AT(tribuf_geometry, slot_size, 24);
TRIBUF_ABI_AT(tribuf_geometry, slot_stride, 32);
TRIBUF_ABI_AT(tribuf_geometry, slots_offset, 40);
TRIBUF_ABI_AT(tribuf_geometry, slots, 48);
TRIBUF_ABI_AT(tribuf_geometry, granule, 52);
TRIBUF_ABI_AT(tribuf_geometry, page_size, 56);
TRIBUF_ABI_AT(tribuf_geometry, state, 60);
TRIBUF_ABI_AT(tribuf_geometry, producer_epoch, 64);
TRIBUF_ABI_AT(tribuf_geometry, consumer_epoch, 68);
TRIBUF_ABI_AT(tribuf_geometry, reserved, 72);

TRIBUF_ABI(sizeof(struct tribuf_gen_index) == 8);
TRIBUF_ABI_AT(tribuf_gen_index, index, 0);
TRIBUF_ABI_AT(tribuf_gen_index, generation, 4);

TRIBUF_ABI(sizeof(struct tribuf_attach_args) == 184);
TRIBUF_ABI_AT(tribuf_attach_args, size, 0);
TRIBUF_ABI_AT(tribuf_attach_args, flags, 4);
TRIBUF_ABI_AT(tribuf_attach_args, role, 8);
TRIBUF_ABI_AT(tribuf_attach_args, layout, 12);
TRIBUF_ABI_AT(tribuf_attach_args, name, 16);
TRIBUF_ABI_AT(tribuf_attach_args, fd, 80);
TRIBUF_ABI_AT(tribuf_attach_args, mode, 84);
TRIBUF_ABI_AT(tribuf_attach_args, slot_size, 88);
TRIBUF_ABI_AT(tribuf_attach_args, granule, 96);
TRIBUF_ABI_AT(tribuf_attach_args, grants, 100);
TRIBUF_ABI_AT(tribuf_attach_args, slot_stride, 104);
TRIBUF_ABI_AT(tribuf_attach_args, slots_offset, 112);
TRIBUF_ABI_AT(tribuf_attach_args, channel, 120);
TRIBUF_ABI_AT(tribuf_attach_args, uid, 128);
TRIBUF_ABI_AT(tribuf_attach_args, state, 132);
TRIBUF_ABI_AT(tribuf_attach_args, producer_epoch, 136);
TRIBUF_ABI_AT(tribuf_attach_args, consumer_epoch, 140);
TRIBUF_ABI_AT(tribuf_attach_args, created, 144);
TRIBUF_ABI_AT(tribuf_attach_args, redelivered, 148);
TRIBUF_ABI_AT(tribuf_attach_args, reserved, 152);

TRIBUF_ABI(sizeof(struct tribuf_publish_args) == 128);
TRIBUF_ABI_AT(tribuf_publish_args, size, 0);
TRIBUF_ABI_AT(tribuf_publish_args, flags, 4);
TRIBUF_ABI_AT(tribuf_publish_args, bytes, 8);
TRIBUF_ABI_AT(tribuf_publish_args, timestamp, 16);
TRIBUF_ABI_AT(tribuf_publish_args, cookie, 24);
TRIBUF_ABI_AT(tribuf_publish_args, frame_flags, 32);
TRIBUF_ABI_AT(tribuf_publish_args, result, 36);
TRIBUF_ABI_AT(tribuf_publish_args, user, 40);
TRIBUF_ABI_AT(tribuf_publish_args, seq, 104);
TRIBUF_ABI_AT(tribuf_publish_args, generation, 112);
TRIBUF_ABI_AT(tribuf_publish_args, slot, 116);
TRIBUF_ABI_AT(tribuf_publish_args, back, 120);
TRIBUF_ABI_AT(tribuf_publish_args, reserved, 124);

TRIBUF_ABI(sizeof(struct tribuf_acquired) == 136);
TRIBUF_ABI_AT(tribuf_acquired, slot, 0);
TRIBUF_ABI_AT(tribuf_acquired, reserved, 4);
TRIBUF_ABI_AT(tribuf_acquired, desc, 8);

TRIBUF_ABI(sizeof(struct tribuf_acquire_args) == 144);
TRIBUF_ABI_AT(tribuf_acquire_args, size, 0);
TRIBUF_ABI_AT(tribuf_acquire_args, flags, 4);
TRIBUF_ABI_AT(tribuf_acquire_args, frame, 8);

TRIBUF_ABI(sizeof(struct tribuf_copy_args) == 48);
TRIBUF_ABI_AT(tribuf_copy_args, size, 0);
TRIBUF_ABI_AT(tribuf_copy_args, flags, 4);
TRIBUF_ABI_AT(tribuf_copy_args, slot, 8);
TRIBUF_ABI_AT(tribuf_copy_args, generation, 12);
TRIBUF_ABI_AT(tribuf_copy_args, offset, 16);
TRIBUF_ABI_AT(tribuf_copy_args, bytes, 24);
TRIBUF_ABI_AT(tribuf_copy_args, buf, 32);
TRIBUF_ABI_AT(tribuf_copy_args, reserved, 40);

TRIBUF_ABI(sizeof(struct tribuf_format_args) == 32);
TRIBUF_ABI_AT(tribuf_format_args, size, 0);
TRIBUF_ABI_AT(tribuf_format_args, flags, 4);
TRIBUF_ABI_AT(tribuf_format_args, version, 8);
TRIBUF_ABI_AT(tribuf_format_args, bytes, 12);
TRIBUF_ABI_AT(tribuf_format_args, buf, 16);
TRIBUF_ABI_AT(tribuf_format_args, reserved, 24);

TRIBUF_ABI(sizeof(struct tribuf_info_args) == 320);
TRIBUF_ABI_AT(tribuf_info_args, size, 0);
TRIBUF_ABI_AT(tribuf_info_args, flags, 4);
TRIBUF_ABI_AT(tribuf_info_args, channel, 8);
TRIBUF_ABI_AT(tribuf_info_args, name, 16);
TRIBUF_ABI_AT(tribuf_info_args, slot_size, 80);
TRIBUF_ABI_AT(tribuf_info_args, slot_stride, 88);
TRIBUF_ABI_AT(tribuf_info_args, slots_offset, 96);
TRIBUF_ABI_AT(tribuf_info_args, slots, 104);
TRIBUF_ABI_AT(tribuf_info_args, granule, 108);
TRIBUF_ABI_AT(tribuf_info_args, state, 112);
TRIBUF_ABI_AT(tribuf_info_args, role, 116);
TRIBUF_ABI_AT(tribuf_info_args, uid, 120);
TRIBUF_ABI_AT(tribuf_info_args, gid, 124);
TRIBUF_ABI_AT(tribuf_info_args, mode, 128);
TRIBUF_ABI_AT(tribuf_info_args, grants, 132);
TRIBUF_ABI_AT(tribuf_info_args, producer_epoch, 136);
TRIBUF_ABI_AT(tribuf_info_args, consumer_epoch, 140);
TRIBUF_ABI_AT(tribuf_info_args, producer_pid, 144);
TRIBUF_ABI_AT(tribuf_info_args, consumer_pid, 148);
TRIBUF_ABI_AT(tribuf_info_args, observers, 152);
TRIBUF_ABI_AT(tribuf_info_args, keepers, 156);
TRIBUF_ABI_AT(tribuf_info_args, kernel_publishes, 160);
TRIBUF_ABI_AT(tribuf_info_args, kernel_acquires, 168);
TRIBUF_ABI_AT(tribuf_info_args, kernel_rings, 176);
TRIBUF_ABI_AT(tribuf_info_args, kernel_wakes, 184);
TRIBUF_ABI_AT(tribuf_info_args, kernel_sleeps, 192);
TRIBUF_ABI_AT(tribuf_info_args, kernel_redelivered, 200);
TRIBUF_ABI_AT(tribuf_info_args, kernel_guard_faults, 208);
TRIBUF_ABI_AT(tribuf_info_args, claimed_word, 216);
TRIBUF_ABI_AT(tribuf_info_args, claimed_format, 220);
TRIBUF_ABI_AT(tribuf_info_args, claimed_seq, 224);
TRIBUF_ABI_AT(tribuf_info_args, claimed_bytes, 232);
TRIBUF_ABI_AT(tribuf_info_args, claimed_timestamp, 240);
TRIBUF_ABI_AT(tribuf_info_args, claimed_overwritten, 248);
TRIBUF_ABI_AT(tribuf_info_args, reserved, 256);

TRIBUF_ABI(sizeof(struct tribuf_list_entry) == 120);
TRIBUF_ABI_AT(tribuf_list_entry, channel, 0);
TRIBUF_ABI_AT(tribuf_list_entry, name, 8);
TRIBUF_ABI_AT(tribuf_list_entry, slot_size, 72);
TRIBUF_ABI_AT(tribuf_list_entry, claimed_seq, 80);
TRIBUF_ABI_AT(tribuf_list_entry, state, 88);
TRIBUF_ABI_AT(tribuf_list_entry, uid, 92);
TRIBUF_ABI_AT(tribuf_list_entry, gid, 96);
TRIBUF_ABI_AT(tribuf_list_entry, mode, 100);
TRIBUF_ABI_AT(tribuf_list_entry, producer_pid, 104);
TRIBUF_ABI_AT(tribuf_list_entry, consumer_pid, 108);
TRIBUF_ABI_AT(tribuf_list_entry, observers, 112);
TRIBUF_ABI_AT(tribuf_list_entry, keepers, 116);

TRIBUF_ABI(sizeof(struct tribuf_list_args) == 32);
TRIBUF_ABI_AT(tribuf_list_args, size, 0);
TRIBUF_ABI_AT(tribuf_list_args, flags, 4);
TRIBUF_ABI_AT(tribuf_list_args, cursor, 8);
TRIBUF_ABI_AT(tribuf_list_args, entries, 16);
TRIBUF_ABI_AT(tribuf_list_args, count, 24);
TRIBUF_ABI_AT(tribuf_list_args, entry_size, 28);

#undef TRIBUF_ABI_AT
#undef TRIBUF_ABI

#endif /* _UAPI_LINUX_TRIBUF_H */
