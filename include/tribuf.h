/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * libtribuf: channels that hand the newest complete frame from one process to
 * another, without copies and without locks.
 *
 * Conventions. A function that can fail returns a negative errno value;
 * tribuf_explain() has a sentence about the last failure in this thread, with its
 * remedy. It leaves its outputs alone, but for a frame, which tribuf_begin() and
 * tribuf_acquire() leave all zero and in whose @bytes tribuf_snapshot() tells what
 * room it lacked, and for memory that it was copying to. Sizes are bytes, times
 * nanoseconds on CLOCK_MONOTONIC. There are no hidden threads. Between tribuf_open() and
 * tribuf_close() the frame path (begin, publish, acquire, ref, deref)
 * allocates nothing and makes no system call, except to wake a sleeping peer.
 *
 * Guarded channels (TRIBUF_GUARDED) work with the same calls: there publish is
 * one system call, acquire one if there is a frame, and the kernel takes the slot
 * that was given away out of one's memory: a touch of it is SIGBUS. Whoever joins
 * without TRIBUF_CREATE takes the kind that is there.
 *
 * Threads. A handle serves one thread at a time; different handles are
 * independent. tribuf_wait(), tribuf_ring() and tribuf_info() may run beside
 * one other thread on the frame path of the same handle; tribuf_wait() not yet while
 * the handle waits for the geometry (TRIBUF_PENDING, until TRIBUF_GEOMETRY).
 *
 * The inline functions also exist as symbols, under the same names, for other
 * languages. This header knows the layout of the shared pages (it is ABI, see
 * linux/tribuf.h), and nothing of the backends.
 */
#ifndef TRIBUF_H
#define TRIBUF_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/tribuf.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TRIBUF_VERSION_MAJOR	0
#define TRIBUF_VERSION_MINOR	1

/* For the frame path: a call would cost as much as what is in it. */
#ifndef TRIBUF_ALWAYS_INLINE	/* selftests/coverage redefines it, to count each branch once */
#define TRIBUF_ALWAYS_INLINE	static inline __attribute__((always_inline))
#endif

#ifndef TRIBUF_INLINE		/* lib/ffi.c redefines it, to get symbols */
#define TRIBUF_INLINE		TRIBUF_ALWAYS_INLINE
#endif

/*
 * What the frame path needs of a handle; the fields are for the inline functions
 * below, programs use them through those alone.
 *
 * Only a direct channel's producer and consumer have @word point to the shared
 * state word, and only such a producer has @limit. All others (observers, pending
 * and guarded handles) have a private word that is no permutation, and 0. So the
 * checks that every swap makes anyway lead them into the slow functions, and the
 * frame path needs no test of the kind of handle.
 */
struct tribuf {
	uint32_t *word;			/* state word */
	struct tribuf_desc *desc;	/* one descriptor per slot */
	unsigned char *slots;		/* first byte of slot 0 */
	uint64_t slot_stride;
	uint64_t limit;			/* producer: a frame has fewer bytes than this */
	uint64_t seq;			/* producer: number of the newest frame */
	/*
	 * Not in the order of struct tribuf_frame, or compilers load two of them at
	 * once, and wait until what was stored one by one just now is in the cache.
	 */
	uint32_t generation;		/* of the frame in hand, if the slot has it; producer:
					 * else of the next one, for all slots alike
					 */
	uint32_t expected;		/* producer: the word, if the consumer did the usual */
	/* As wide as a pointer: a store of 32 bits into a descriptor cannot have changed it. */
	size_t slot;			/* the slot in hand: back or front */

	/* Here begins the second line: in this one nothing changes with a publish. */
	uint32_t format;		/* producer: version of the format area */
	uint64_t slot_size;
	uint64_t held;			/* slot_size for who can have a frame in hand, else 0 */
	uint32_t seen;			/* consumer: the word when it had nothing new */
	uint32_t granule_shift;		/* log2 of the granule */
};

/**
 * struct tribuf_frame - a frame in hand
 * @data: its first byte, where a page begins; if slots have at most
 *	TRIBUF_SMALL_BYTES, a multiple of those, beside the descriptor, which saves a
 *	cache line on the way. A consumer's is read-only memory
 * @bytes: its length; after begin: the room there is, set it before publish
 * @seq: its number, 1 for a channel's first
 * @timestamp: producer sets it or leaves 0 (not stamped)
 * @cookie: the user's own
 * @user: the user's own TRIBUF_USER_BYTES bytes beside it, in shared memory; a
 *	guarded channel's producer has them in the handle until it publishes
 * @slot: the slot that holds it
 * @generation: odd while it is being written, even once published
 * @format: version of the format area (tribuf_format_get()) it was made under
 * @flags: bits 31:16 are the user's, bits 15:0 are zero
 *
 * Owned by the library: valid for a producer from begin to publish, for a
 * consumer until its next acquire that returns 1, or close.
 */
struct tribuf_frame {
	void *data;
	uint64_t bytes;
	uint64_t seq;
	uint64_t timestamp;
	uint64_t cookie;
	void *user;
	uint32_t slot;
	uint32_t generation;
	uint32_t format;
	uint32_t flags;
};

/* Library's default flags for tribuf_options.flags. */
#define TRIBUF_DEFAULT	(TRIBUF_LATEST | TRIBUF_OWNED)

/**
 * struct tribuf_options - how to open a channel
 * @size: sizeof(struct tribuf_options)
 * @role: TRIBUF_PRODUCER, _CONSUMER, _OBSERVER or _KEEPER
 * @flags: TRIBUF_CREATE and so on, see struct tribuf_attach_args
 * @mode: permission bits of a new channel, less the umask
 * @slot_size: bytes of a slot, needed to create; 0: the channel's
 * @granule: 0: the channel's, or 8
 * @grants: with TRIBUF_BY_FD: see struct tribuf_attach_args
 * @fd: with TRIBUF_BY_FD: the handle to go through (it stays the caller's)
 * @reserved: zero
 *
 * Start from TRIBUF_OPTIONS_INIT.
 */
struct tribuf_options {
	uint32_t size;
	uint32_t role;
	uint32_t flags;
	uint32_t mode;
	uint64_t slot_size;
	uint32_t granule;
	uint32_t grants;
	int32_t fd;
	uint32_t reserved[7];
};

#define TRIBUF_OPTIONS_INIT { sizeof(struct tribuf_options), TRIBUF_CONSUMER, \
			      TRIBUF_DEFAULT, 0600, 0, 0, 0, -1, { 0 } }

/**
 * tribuf_open - attach to a channel
 * @handle: out: the handle, to be given to tribuf_close()
 * @name: "NAME" for /dev/tribuf, "shm:NAME" for the embedded backend; NULL with
 *	TRIBUF_ANONYMOUS or TRIBUF_BY_FD
 * @options: NULL: a consumer of an existing channel
 *
 * Returns 0, or a negative errno value: those of TRIBUF_IOC_ATTACH, besides
 * -ENODEV (/dev/tribuf is not there: the module is not loaded), -EMFILE,
 * -ENFILE, -EACCES (the device node), -ENOTSUP (the backend cannot do it, as shm
 * cannot guard; or TRIBUF_GUARDED on this kernel). The device node need be writable
 * for producers and for consumers of direct channels alone.
 * With TRIBUF_PENDING a channel without geometry opens too: acquire then finds
 * nothing, and tribuf_wait() maps the slots when it reports TRIBUF_GEOMETRY.
 */
int tribuf_open(struct tribuf **handle, const char *name, const struct tribuf_options *options);

/*
 * tribuf_open_producer - make or join channel @name with slots of @slot_size
 * bytes, as its producer. tribuf_open_consumer - join it as its consumer,
 * waiting for its creator if need be (TRIBUF_PENDING). Errors as tribuf_open().
 */
int tribuf_open_producer(struct tribuf **handle, const char *name, uint64_t slot_size);
int tribuf_open_consumer(struct tribuf **handle, const char *name);

/*
 * tribuf_close - give up the role, unmap, free. NULL is fine. The pointers into
 * frames become invalid. No other thread may use the handle any more.
 */
void tribuf_close(struct tribuf *handle);

/*
 * tribuf_fd - the descriptor to poll: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLPRI
 * as in linux/tribuf.h. It belongs to the handle. -ENOTSUP on shm, which has
 * none.
 */
int tribuf_fd(const struct tribuf *handle);

/*
 * tribuf_info - geometry, epochs, peers, counters. Errors: -ESTALE (the role
 * ended). Does not change what tribuf_wait() reports.
 */
int tribuf_info(struct tribuf *handle, struct tribuf_info_args *info);

/*
 * tribuf_explain - a sentence about the last negative value that a function of
 * this library returned in this thread: what was wrong, and what to do. Never
 * NULL; belongs to the library, valid until the thread's next failure.
 */
const char *tribuf_explain(void);

/* What tribuf_wait() can wait for and report; a bit mask. */
#define TRIBUF_READY		(1u << 0)	/* consumer, observer: a frame; producer: mailbox empty */
#define TRIBUF_PEER_GONE	(1u << 1)	/* the peer was there and has left or died */
#define TRIBUF_PEER_BACK	(1u << 2)	/* a peer has attached since the last report */
#define TRIBUF_GEOMETRY		(1u << 3)	/* geometry has come, or the channel was replaced */
#define TRIBUF_FOREVER		(-1LL)

/**
 * tribuf_wait - sleep until something happens
 * @handle: of any role but keeper
 * @events: which of the bits above may end the wait, at least one
 * @timeout: ns; 0: look, do not sleep; TRIBUF_FOREVER: no limit
 *
 * Looks; then, if most waits for TRIBUF_READY took less than 150 us of late and
 * there is more than one CPU, looks again for at most that long; then sleeps. As
 * with poll(), a signal that was handled before it slept does not end the wait.
 *
 * Returns the bits of @events that hold, 0 after the timeout. TRIBUF_READY and
 * TRIBUF_GEOMETRY (of a replaced channel) are levels. TRIBUF_PEER_GONE, _BACK
 * and a first geometry are reported once per change, so that a loop around this
 * function does not spin while a peer is away.
 *
 * Errors: -EINVAL (events, timeout), -EINTR (a signal handler ran), -EACCES
 * (keeper), -ESTALE (the role ended), -EPROTO (state word spoilt).
 */
int tribuf_wait(struct tribuf *handle, unsigned int events, int64_t timeout);

/*
 * tribuf_wait_until - the same with a deadline on CLOCK_MONOTONIC in ns.
 */
int tribuf_wait_until(struct tribuf *handle, unsigned int events, int64_t deadline);

/*
 * For event loops of one's own, which sleep on tribuf_fd():
 *
 * tribuf_poll_events - what to ask poll() for (POLLIN, POLLOUT, POLLRDHUP, POLLPRI)
 * so that it ends when tribuf_wait() for @events would. It changes as peers come
 * and go: ask before each poll. An edge-triggered registration may have it once
 * and for all, with POLLRDHUP added.
 *
 * tribuf_polled - what poll() answered, turned into the bits of @events that hold;
 * 0: nothing that was asked for. Must be called whenever the descriptor was
 * reported, or it will be again. Makes no system call unless a peer came or went.
 *
 * Errors as tribuf_wait(), and -ENOTSUP on shm, which has no descriptor.
 */
int tribuf_poll_events(struct tribuf *handle, unsigned int events);
int tribuf_polled(struct tribuf *handle, unsigned int events, int revents);

/*
 * A set waits on thousands of channels with one call, whose cost grows with those
 * that are ready, not with those that are in it. Channels of /dev/tribuf only; a
 * handle is in one set at a time. A set, with the handles in it, serves one thread
 * at a time.
 */
struct tribuf_set;

#define TRIBUF_SET_EPOLL	(1u << 0)	/* do without io_uring */

/**
 * tribuf_set_create - make an empty set
 * @set: out: to be given to tribuf_set_destroy()
 * @flags: 0 or TRIBUF_SET_EPOLL
 *
 * Sleeps by io_uring; by epoll if there is none (not in this kernel, forbidden, or
 * this library was built without liburing), which costs a busy channel's producer
 * one ring per frame that is really taken. Returns 0, -EINVAL, -EMFILE, -ENFILE,
 * -ENOMEM.
 */
int tribuf_set_create(struct tribuf_set **set, unsigned int flags);

/* tribuf_set_destroy - free the set; the handles stay open. NULL is fine. */
void tribuf_set_destroy(struct tribuf_set *set);

/**
 * tribuf_set_add - wait on this channel too
 * @set: the set
 * @handle: of any role but keeper; tribuf_close() removes it from the set
 * @events: TRIBUF_READY and so on, as for tribuf_wait()
 * @data: handed back when it is ready
 *
 * Returns 0. -EEXIST: it is in a set already (to change @events or @data, remove
 * and add it); -ENOTSUP: of the shm backend, which has no descriptor; -EINVAL
 * (events), -EACCES (keeper), -ENOMEM, -ENOSPC (fs.epoll.max_user_watches).
 */
int tribuf_set_add(struct tribuf_set *set, struct tribuf *handle, unsigned int events,
		   void *data);

/* tribuf_set_remove - do not wait on it any more. -ENOENT: it is not in the set. */
int tribuf_set_remove(struct tribuf_set *set, struct tribuf *handle);

/**
 * struct tribuf_ready - a channel of a set that something happened on
 * @handle: as it was added
 * @data: as it was added
 * @events: bits of the events asked for; or a negative errno value of
 *	tribuf_wait(), after which it is best removed
 */
struct tribuf_ready {
	struct tribuf *handle;
	void *data;
	int events;
};

/**
 * tribuf_set_wait - sleep until something happens on a channel of the set
 * @set: the set
 * @ready: out: the channels that it happened on
 * @max: room in @ready, at least 1; those that have none are next time's first
 * @timeout: ns; 0: look, do not sleep; TRIBUF_FOREVER: no limit
 *
 * What is a level for tribuf_wait() is one here: a channel whose frame was not
 * taken is reported again. Returns how many are in @ready, 0 after the timeout.
 * -EINVAL (max, timeout, no end to a wait on an empty set), -EINTR (a signal
 * handler ran), -ENOMEM.
 */
int tribuf_set_wait(struct tribuf_set *set, struct tribuf_ready *ready, int max, int64_t timeout);

/*
 * For event loops that sleep on futexes, as those of shm do, which has no
 * descriptor: tribuf_wait() with a timeout of 0 that also lets the peer know that
 * the caller goes to sleep. If it returns 0, sleep (FUTEX_WAIT, not private, or
 * futex_waitv()) until the word at *@futex is not *@value, for at most 100 ms,
 * since a peer that is killed may wake nobody; then call it again. The address is
 * good until tribuf_close().
 *
 * Errors as tribuf_wait(), and -ENOTSUP on /dev/tribuf: use tribuf_fd().
 */
int tribuf_arm(struct tribuf *handle, unsigned int events, uint32_t **futex, uint32_t *value);

/*
 * tribuf_ring - wake the peers that sleep and have something to see. Only for
 * who published through tribuf_publish_quiet(). Errors: -EACCES (role), -ESTALE.
 */
int tribuf_ring(struct tribuf *handle);

/*
 * tribuf_format_set - what the frames are (caps, width, height, ...), for
 * consumers to read; frames begun later name this version. Producer only.
 * @bytes: at most TRIBUF_FORMAT_BYTES. Errors: -EACCES, -EMSGSIZE, -ESTALE, -EAGAIN
 * (no geometry yet).
 */
int tribuf_format_set(struct tribuf *handle, const void *data, size_t bytes);

/*
 * tribuf_format_get - the format into @data, of which there is room for *@bytes;
 * out: its length (what does not fit is cut off), and its @version, 0: never
 * set. Errors: -EAGAIN (it was being written in every try: again), -EPROTO.
 */
int tribuf_format_get(struct tribuf *handle, void *data, size_t *bytes, uint32_t *version);

/*
 * tribuf_snapshot - copy the newest frame out of the channel, from a slot that
 * one need not hold: for observers, who own none. @frame: out: its descriptor,
 * with @frame->data == @data; @frame->user points to a copy in the handle,
 * valid until the next call.
 *
 * Returns 1; 0: no frame newer than the last one taken; or -EAGAIN (outrun by
 * the producer in every one of TRIBUF_COPY_TRIES tries), -EMSGSIZE (the frame
 * has more than @room bytes; @frame->bytes tells), -EACCES (not an observer),
 * -ESTALE, -EPROTO, -EFAULT (as tribuf_copy()).
 */
#define TRIBUF_COPY_TRIES	16
int tribuf_snapshot(struct tribuf *handle, struct tribuf_frame *frame, void *data, size_t room);

/*
 * tribuf_copy - copy @bytes from where @reference points, out of a slot that
 * need not be the caller's: copied, then the generation is checked again.
 * Errors: -ESTALE (the slot has another frame by now; @data is unspecified),
 * -EINVAL (out of range, or crossing the end of the slot), -EFAULT (guarded, where
 * the kernel copies: @data cannot be written).
 */
int tribuf_copy(struct tribuf *handle, struct tribuf_gen_index reference, void *data,
		size_t bytes);

/**
 * struct tribuf_window - what a second mapping of a channel looks like
 * @bytes: its length, a multiple of 64 KiB
 * @slots: offset of slot 0, a multiple of 64 KiB unless slots are small; the others
 *	follow at the channel's stride. The state word, the descriptors and the
 *	geometry are in the first three pages, as in linux/tribuf.h
 */
struct tribuf_window {
	size_t bytes;
	size_t slots;
};

/*
 * Windows are for runtimes whose programs reach no memory but their own, such as
 * WebAssembly: the channel's pages a second time, inside that memory.
 *
 * tribuf_window_size - how much room it takes. -EAGAIN: geometry not known yet.
 *
 * tribuf_window_map - put the channel's pages at @address, a multiple of the page
 * size, in place of what is mapped there, of which @room bytes may go. With the
 * rights of the role: a store that it has no right to is SIGSEGV. What lies
 * between the pages stays as it is. -EINVAL (@address), -ENOSPC (@room), -ENOMEM.
 *
 * tribuf_window_unmap - put empty memory there instead. To be called before
 * tribuf_close(), which knows nothing of windows; it may be while other threads
 * use the window, who then read zeros.
 *
 * Errors of all: -EACCES (keeper), -ENOTSUP (guarded), -ESTALE, -EPROTO.
 */
int tribuf_window_size(struct tribuf *handle, struct tribuf_window *window);
int tribuf_window_map(struct tribuf *handle, void *address, size_t room);
int tribuf_window_unmap(struct tribuf *handle, void *address);

/*
 * tribuf_resume - go on after somebody else, who has a window of this handle, has
 * swapped in its place: learn from the state word which slot is in hand by now.
 * Changes nothing if nobody did. No frame is in hand afterwards until the next
 * begin or acquire. For a producer or consumer. Returns 1: somebody did, 0, or
 * -EACCES (role), -EPROTO (state word spoilt), -ENOTSUP (guarded), -EAGAIN.
 */
int tribuf_resume(struct tribuf *handle);

/*
 * tribuf_list - call @each for every channel that the caller may see on a
 * backend, until it returns non-zero, which is then returned. Errors: -ENODEV
 * (the module is not loaded), -ENOTSUP (no such backend), -EMFILE, -ENFILE,
 * -ENOMEM.
 */
#define TRIBUF_BACKEND_DEVICE	0
#define TRIBUF_BACKEND_SHM	1
int tribuf_list(unsigned int backend,
		int (*each)(const struct tribuf_list_entry *channel, void *context),
		void *context);

/*
 * tribuf_accept - take over a frame that read() or an io_uring read on
 * tribuf_fd() returned, as if tribuf_acquire() had. Everything in @acquired is
 * checked. For an observer, who holds no slot, @frame->data and @frame->user may
 * change while they are read: copy with tribuf_frame_ref() and tribuf_copy(). A
 * guarded channel's observer has no memory to look into: @frame->data is NULL.
 *
 * Errors: -ESTALE (a later acquire has taken this handle's slot already),
 * -EACCES (role), -EPROTO (state word spoilt; length exceeds the slot).
 */
int tribuf_accept(struct tribuf *handle, const struct tribuf_acquired *acquired,
		  struct tribuf_frame *frame);

/*
 * The way out of the frame path: a compare-and-exchange that failed, a word
 * that was spoilt, a wrong argument, a guarded channel. Internal. None of them
 * is given the caller's frame: as long as its address is not taken, it is kept in
 * registers.
 */
int tribuf_begin_slow(struct tribuf *handle);
int tribuf_publish_slow(struct tribuf *handle, const struct tribuf_frame *frame,
			unsigned int flags);
int tribuf_acquire_slow(struct tribuf *handle);
int tribuf_acquire_refused(struct tribuf *handle);
int tribuf_ref_slow(const struct tribuf *handle);
int tribuf_deref_slow(const struct tribuf *handle, struct tribuf_gen_index reference,
		      size_t bytes);

#define tribuf_likely(x)	__builtin_expect(!!(x), 1)
#define tribuf_unlikely(x)	__builtin_expect(!!(x), 0)

/* @value, of which the compiler knows nothing: not even what it was compared with. */
TRIBUF_ALWAYS_INLINE uint32_t tribuf_opaque(uint32_t value)
{
	__asm__("" : "+r" (value));
	return value;
}

TRIBUF_ALWAYS_INLINE uint64_t tribuf_opaque64(uint64_t value)
{
	__asm__("" : "+r" (value));
	return value;
}

/* A plain 64-bit field in shared memory, read once: what is checked is used. */
#define tribuf_read_once(field)	(*(const volatile __typeof__(field) *)&(field))

#define TRIBUF_FRAME_FLAGS	0xffff0000u	/* those of tribuf_frame.flags that are the user's */

/* Internal: field by field, which leaves @frame in registers where memset() would not. */
TRIBUF_ALWAYS_INLINE int tribuf_no_frame(struct tribuf_frame *frame, int error)
{
	frame->data = NULL;
	frame->bytes = 0;
	frame->seq = 0;
	frame->timestamp = 0;
	frame->cookie = 0;
	frame->user = NULL;
	frame->slot = 0;
	frame->generation = 0;
	frame->format = 0;
	frame->flags = 0;
	return error;
}

#define TRIBUF_LINE	64u		/* bytes of a cache line */
#define TRIBUF_GENERATION_NONE	1u	/* odd: no frame that a consumer holds has it */

/*
 * Internal: a word as it will be once those who were rung for are up: the guess of
 * the next is right if it finds that one, and it has nobody to ring for.
 */
TRIBUF_ALWAYS_INLINE uint32_t tribuf_rung(uint32_t word)
{
	return word & ~(word & TRIBUF_FRESH ? TRIBUF_WATCHED
					    : TRIBUF_ARMED | TRIBUF_WATCHED | TRIBUF_PACED);
}

/*
 * Internal: fetch the word's line to write to, while a frame is being made: publish
 * would wait for it. Saves 2 % of one way between two that spin, where a line takes
 * 30 ns. A hint; for x86 compilers make one to read of it, unless they know the CPU.
 */
TRIBUF_ALWAYS_INLINE void tribuf_claim_word(const uint32_t *word)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m" (*word));
#else
	__builtin_prefetch(word, 1);
#endif
}

/* Internal: odd, and greater than any that the producers before have used. */
static inline uint32_t tribuf_next_generation(const struct tribuf_desc *desc)
{
	uint32_t newest = tribuf_read_once(desc[0].generation), slot;

	for (slot = 1; slot < TRIBUF_SLOTS; slot++) {
		uint32_t other = tribuf_read_once(desc[slot].generation);

		if ((int32_t)(other - newest) > 0)
			newest = other;
	}
	return tribuf_generation_takeover(newest);
}

/**
 * tribuf_begin - start a frame in the back slot
 * @t: a producer's handle
 * @frame: out: where to write (@data), the room there is (@bytes), and its
 *	@seq. The user bytes hold what their slot had before. Set @bytes, and the
 *	rest if wanted, before tribuf_publish()
 *
 * From here on references to the frame that was in this slot are stale. Calling
 * it again before publish starts the same frame anew.
 *
 * Returns 0. -EACCES: not a producer's handle; -EAGAIN: opened with
 * TRIBUF_PENDING and the geometry is not known yet; -ESTALE: guarded, and in a
 * forked child.
 */
TRIBUF_INLINE int tribuf_begin(struct tribuf *t, struct tribuf_frame *frame)
{
	struct tribuf_desc *desc;
	uint32_t generation;
	size_t slot;
	int err;

	if (tribuf_unlikely(!t->limit)) {
		err = tribuf_begin_slow(t);
		if (err)
			return tribuf_no_frame(frame, err);
	}
	tribuf_claim_word(t->word);
	slot = t->slot;
	desc = &t->desc[slot];
	generation = t->generation;
	/*
	 * Stored without a look at what was there: the line is where it was read last.
	 *
	 * Odd before the first byte of the frame: whoever copied one of those
	 * bytes sees it when checking the generation again, after an acquire
	 * fence. Partner: tribuf_copy(), tribuf_snapshot(), TRIBUF_IOC_COPY.
	 */
	__atomic_store_n(&desc->generation, generation, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);

	frame->data = t->slots + (size_t)(slot * t->slot_stride);
	frame->bytes = t->slot_size;
	frame->seq = t->seq + 1;
	frame->timestamp = 0;
	frame->cookie = 0;
	frame->user = desc->user;
	frame->slot = (uint32_t)slot;
	frame->generation = generation;
	frame->format = t->format;
	frame->flags = 0;
	return 0;
}

/* Internal: is @frame the one that @t began last, and fit to be published? */
TRIBUF_ALWAYS_INLINE int tribuf_publishable(const struct tribuf *t,
					    const struct tribuf_frame *frame)
{
	return frame->seq == t->seq + 1 && frame->slot == t->slot &&
	       frame->generation == t->generation && frame->bytes < t->limit &&
	       !(frame->flags & ~TRIBUF_FRAME_FLAGS);
}

typedef uint64_t __attribute__((may_alias)) tribuf_neighbours;

/*
 * Internal: the two fields that are written last, which are neighbours, by one store
 * where one is wide enough: each store that an exchange has to wait for costs.
 *
 * The generation is even (it was odd) after all bytes of frame and descriptor;
 * partner: as in begin.
 */
TRIBUF_ALWAYS_INLINE void tribuf_describe_last(struct tribuf_desc *desc, uint32_t generation,
					       uint32_t flags)
{
#if UINTPTR_MAX > UINT32_MAX
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	uint64_t both = (uint64_t)flags << 32 | generation;
#else
	uint64_t both = (uint64_t)generation << 32 | flags;
#endif

	__atomic_store_n((tribuf_neighbours *)(void *)&desc->generation, both, __ATOMIC_RELEASE);
#else
	desc->flags = flags;
	__atomic_store_n(&desc->generation, generation, __ATOMIC_RELEASE);
#endif
}

/* Internal: what a reader may learn about the frame, before it is published. */
TRIBUF_ALWAYS_INLINE void tribuf_describe(struct tribuf *t, const struct tribuf_frame *frame)
{
	struct tribuf_desc *desc = &t->desc[frame->slot];

	desc->seq = frame->seq;
	desc->bytes = frame->bytes;
	desc->timestamp = frame->timestamp;
	desc->cookie = frame->cookie;
	desc->format = frame->format;
	tribuf_describe_last(desc, frame->generation + 1, frame->flags);
}

/*
 * Internal: take the lines of back that the consumer has read from it, while nobody
 * waits for that, or the next publish would. They are left shared with a consumer,
 * who maps them read-only (of pages that it could write, a core reads lines to own
 * them), and a prefetch for writing leaves them so. It takes a store; these change
 * nothing. One way between two processes, in ping-pongs of two lines: 1.85 before, 1.1
 * now where a line takes long, 2.2 and 1.4 where it takes 25 ns.
 *
 * Not the slot's first byte: the word is at the beginning of its page, too, and the
 * load would wait for the exchange. Behind a small slot this is the producer's, too:
 * the user's bytes of the descriptor.
 */
TRIBUF_ALWAYS_INLINE void tribuf_claim_back(const struct tribuf *t)
{
	volatile unsigned char *data = t->slots + (size_t)(t->slot * t->slot_stride);
	volatile struct tribuf_desc *desc = &t->desc[t->slot];

	desc->reserved = 0;
	data[TRIBUF_LINE / 2] = data[TRIBUF_LINE / 2];
}

/*
 * Internal: the exchange from @old took place. Guesses the word that the next will
 * find: the consumer takes this frame if it took the last, and nobody waits to be
 * rung for, so that whose guess is right need not look.
 *
 * @descs (t->desc), @seq and @generation are of before the exchange: what is loaded
 * behind it holds up the stores that need it, and those the next exchange.
 */
TRIBUF_ALWAYS_INLINE int tribuf_published(struct tribuf *t, struct tribuf_desc *descs, uint64_t seq,
					  uint32_t generation, uint32_t old)
{
	uint32_t left = tribuf_word_publish(old);

	t->slot = tribuf_word_back(left);
	t->seq = seq;
	t->generation = generation + 2;
	if (!(old & TRIBUF_FRESH)) {
		tribuf_claim_back(t);
		t->expected = tribuf_word_acquire(left);
		return 0;
	}
	t->expected = left;
	((struct tribuf_frames *)(void *)descs)->overwritten += 1;
	return TRIBUF_OVERWROTE;
}

/* Internal: with a copy of the frame, see above; of its pointers nobody has need. */
TRIBUF_ALWAYS_INLINE int tribuf_publish_otherwise(struct tribuf *t,
						  const struct tribuf_frame *frame,
						  unsigned int flags)
{
	struct tribuf_frame copy = *frame;

	copy.data = NULL;
	copy.user = NULL;
	return tribuf_publish_slow(t, &copy, flags);
}

TRIBUF_ALWAYS_INLINE int tribuf_publish_with(struct tribuf *t, const struct tribuf_frame *frame,
					     unsigned int flags)
{
	uint32_t expected = t->expected, word = expected;
	struct tribuf_desc *descs = t->desc;
	uint32_t generation = frame->generation;
	uint64_t seq = frame->seq;

	if (tribuf_unlikely(!tribuf_publishable(t, frame)))
		return tribuf_publish_otherwise(t, frame, flags);
	tribuf_describe(t, frame);
	/*
	 * The word is guessed, not loaded: one transfer of its line, not two. A
	 * guess comes from a valid word by a valid step, and so does what equals it.
	 *
	 * Releases the frame to the consumer's acquire. Acquires the consumer's
	 * reads of the slot that it gave back, so that they precede our writes.
	 */
	if (tribuf_unlikely(!__atomic_compare_exchange_n(t->word, &word,
							 tribuf_word_publish(expected), 0,
							 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)))
		return tribuf_publish_otherwise(t, frame, flags);
	return tribuf_published(t, descs, seq, generation, expected);
}

/**
 * tribuf_publish - make the frame that was begun the newest one
 * @t: a producer's handle
 * @frame: from tribuf_begin(), with @bytes, @timestamp, @cookie and @flags set
 *
 * Never waits. Wakes who sleeps for it, which is the only system call there is.
 *
 * Returns 0, or TRIBUF_OVERWROTE: the frame before was never taken. Errors,
 * after which the frame is still begun: -EMSGSIZE (more bytes than a slot),
 * -EINVAL (not the frame that was begun last, or flags that are not the
 * user's), -EACCES (not a producer), -EPROTO (the state word was spoilt by a
 * peer), -EAGAIN (geometry not known yet), -ESTALE (guarded: the role ended, the
 * channel was replaced, or a forked child).
 */
TRIBUF_INLINE int tribuf_publish(struct tribuf *t, const struct tribuf_frame *frame)
{
	return tribuf_publish_with(t, frame, 0);
}

/*
 * tribuf_publish_quiet - the same without any system call (guarded: but one), for
 * real-time threads: also returns TRIBUF_RING_DUE if another thread must
 * tribuf_ring().
 */
TRIBUF_INLINE int tribuf_publish_quiet(struct tribuf *t, const struct tribuf_frame *frame)
{
	return tribuf_publish_with(t, frame, TRIBUF_NO_RING);
}

/* Internal: the exchange to @left took place. Nobody is to be rung for. */
TRIBUF_ALWAYS_INLINE void tribuf_acquired_slot(struct tribuf *t, uint32_t left)
{
	t->seen = left;
	t->slot = tribuf_word_front(left);
}

/*
 * Internal: the frame in the slot that was acquired, its descriptor, its bytes.
 * Returns 1, or -EPROTO: dropped.
 */
TRIBUF_ALWAYS_INLINE int tribuf_acquired_frame(struct tribuf *t, struct tribuf_frame *frame,
					       size_t slot, struct tribuf_desc *desc, void *data)
{
	uint64_t bytes = tribuf_read_once(desc->bytes);

	if (tribuf_unlikely(bytes > t->slot_size))
		return tribuf_no_frame(frame, tribuf_acquire_refused(t));
	frame->generation = tribuf_read_once(desc->generation);
	t->generation = frame->generation;
	frame->data = data;
	frame->bytes = bytes;
	/* Likewise read once, but not at all if the caller has no use for it. */
	frame->seq = tribuf_opaque64(desc->seq);
	frame->timestamp = tribuf_opaque64(desc->timestamp);
	frame->cookie = tribuf_opaque64(desc->cookie);
	frame->user = desc->user;
	frame->slot = (uint32_t)slot;
	frame->format = tribuf_opaque(desc->format);
	frame->flags = tribuf_opaque(desc->flags) & TRIBUF_FRAME_FLAGS;
	return 1;
}

/**
 * tribuf_acquire - take the newest frame, giving back the one held so far
 * @t: a consumer's handle
 * @frame: out: the frame; untouched by 0, all zero after an error
 *
 * Never waits. The frame does not change until the next call that returns 1.
 *
 * Returns 1; 0: nothing newer than what was taken before, which stays in hand.
 * -EACCES: not a consumer (observers: tribuf_snapshot()); -EPROTO: the state
 * word was spoilt by a peer, or the frame claimed more bytes than a slot has
 * and was dropped; -ESTALE: guarded, and the role ended, the channel was replaced,
 * or a forked child.
 */
TRIBUF_INLINE int tribuf_acquire(struct tribuf *t, struct tribuf_frame *frame)
{
	uint32_t word = __atomic_load_n(t->word, __ATOMIC_RELAXED), seen = t->seen, guess, left;
	struct tribuf_desc *desc;
	unsigned char *data;
	size_t slot;
	int usual, result;

	if (word == seen)	/* nothing was fresh in it, and it was valid */
		return 0;
	/*
	 * The usual: one publish since. The exchange goes by the guess, which is
	 * known before the word is loaded; a guess that is right is a valid word.
	 */
	guess = tribuf_word_publish(seen);
	usual = word == guess;
	guess = tribuf_opaque(guess);
	/*
	 * On its way while the exchange waits for the word's line. As numbers: who has
	 * no slots has NULL there, and goes on as if the word had been spoilt.
	 */
	slot = tribuf_word_back(seen);
	desc = (struct tribuf_desc *)((uintptr_t)t->desc + slot * sizeof(*desc));
	data = (unsigned char *)((uintptr_t)t->slots + (size_t)(slot * t->slot_stride));
	__builtin_prefetch(desc);
	/*
	 * Acquires the frame that publish released. Releases our reads of the
	 * slot that goes back to the producer.
	 */
	left = tribuf_word_acquire(guess);
	if (tribuf_likely(usual && __atomic_compare_exchange_n(t->word, &guess, left, 0,
							       __ATOMIC_ACQ_REL,
							       __ATOMIC_RELAXED))) {
		t->seen = left;
		t->slot = slot;
	} else {
		result = tribuf_acquire_slow(t);
		if (result <= 0)
			return result ? tribuf_no_frame(frame, result) : 0;
		slot = t->slot;
		desc = &t->desc[slot];
		data = t->slots + (size_t)(slot * t->slot_stride);
	}
	return tribuf_acquired_frame(t, frame, slot, desc, data);
}

/* Internal: is a frame in hand? Not if its slot changed hands, or is begun anew. */
TRIBUF_ALWAYS_INLINE int tribuf_in_hand(const struct tribuf *t)
{
	return tribuf_read_once(t->desc[t->slot].generation) == t->generation;
}

/**
 * tribuf_ref - a reference to a place in the frame in hand
 * @t: a producer's (between begin and publish) or a consumer's handle
 * @pointer: into the slot in hand, a multiple of the granule from its start
 * @reference: out: can be stored, sent elsewhere, and checked later
 *
 * A producer's reference names the frame as one that is being written. Once it
 * is published, readers know it by tribuf_generation_publish() of that
 * generation: store that one if the reference is meant for them.
 *
 * Returns 0, or -EINVAL: no frame in hand, not in its slot, or not on a granule.
 */
TRIBUF_INLINE int tribuf_ref(const struct tribuf *t, const void *pointer,
			     struct tribuf_gen_index *reference)
{
	uint64_t start = t->slot * t->slot_stride;
	uint64_t offset = (uint64_t)((uintptr_t)pointer - (uintptr_t)t->slots) - start;

	if (tribuf_unlikely(offset >= t->held || offset & ((1u << t->granule_shift) - 1) ||
			    !tribuf_in_hand(t)))
		return tribuf_ref_slow(t);
	reference->index = (uint32_t)((start + offset) >> t->granule_shift);
	reference->generation = t->generation;
	return 0;
}

/*
 * tribuf_frame_ref - a reference to byte @offset of @frame, which one need not
 * hold: for observers. Returns 0, or -EINVAL: out of range, not on a granule.
 */
TRIBUF_INLINE int tribuf_frame_ref(const struct tribuf *t, const struct tribuf_frame *frame,
				   uint64_t offset, struct tribuf_gen_index *reference)
{
	if (tribuf_unlikely(frame->slot >= TRIBUF_SLOTS || offset >= t->slot_size ||
			    offset & ((1u << t->granule_shift) - 1)))
		return tribuf_ref_slow(t);
	reference->index = (uint32_t)((frame->slot * t->slot_stride + offset) >> t->granule_shift);
	reference->generation = frame->generation;
	return 0;
}

/**
 * tribuf_deref - the pointer behind a reference, if it is still good
 * @t: the handle that holds the frame
 * @reference: from tribuf_ref() or elsewhere; anything is checked
 * @bytes: how many are to be used from there
 * @pointer: out; good until the frame is given back
 *
 * Returns 0. -ESTALE: the frame is not the one in hand: it was recycled, or
 * this handle does not hold its slot (tribuf_copy() might still get it).
 * -EINVAL: not in any slot, or crossing the end of one.
 */
TRIBUF_INLINE int tribuf_deref(const struct tribuf *t, struct tribuf_gen_index reference,
			       size_t bytes, void **pointer)
{
	uint64_t start = t->slot * t->slot_stride;
	uint64_t offset = ((uint64_t)reference.index << t->granule_shift) - start;

	if (tribuf_unlikely(offset >= t->held || bytes > t->held - offset ||
			    reference.generation != t->generation || !tribuf_in_hand(t)))
		return tribuf_deref_slow(t, reference, bytes);
	*pointer = t->slots + (size_t)(start + offset);
	return 0;
}

#ifdef __cplusplus
}
#endif

#endif /* TRIBUF_H */
