// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames through the kernel's calls: PUBLISH, ACQUIRE, COPY, FORMAT, INFO, LIST
 * and read(), what they answer and every way in which they refuse. The inline
 * path and hostile peers are in abi_frames_test.c, waiting in abi_wait_test.c.
 */
#include "common.h"

/* One handle of each role, and one that is not attached. */
FIXTURE(swap) {
	struct peer p, c, o;
	int keeper;
	int loose;
};

static int swap_open(FIXTURE_DATA(swap) *self)
{
	if (peer_open(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT) ||
	    peer_open(&self->c, test_name(), TRIBUF_CONSUMER, 0, 0) ||
	    peer_open(&self->o, test_name(), TRIBUF_OBSERVER, 0, 0))
		return -1;
	self->keeper = join(test_name(), TRIBUF_KEEPER, 0, 0);
	self->loose = device(O_RDWR);
	return self->keeper < 0 || self->loose < 0;
}

static void swap_close(FIXTURE_DATA(swap) *self)
{
	peer_close(&self->p);
	peer_close(&self->c);
	peer_close(&self->o);
	close(self->keeper);
	close(self->loose);
}

FIXTURE_SETUP(swap)
{
	ASSERT_EQ(0, swap_open(self));
}

FIXTURE_TEARDOWN(swap)
{
	swap_close(self);
}

TEST_F(swap, publish_answers_with_the_frame)
{
	struct tribuf_publish_args args = {
		.size = sizeof(args), .bytes = 5, .timestamp = 77, .cookie = 88,
		.frame_flags = 0xabcd0000, .user = "user's own",
	};
	struct tribuf_desc *desc;

	ASSERT_EQ(0, tri_ioctl(self->p.fd, TRIBUF_IOC_PUBLISH, &args));
	EXPECT_EQ(1, args.seq);
	EXPECT_EQ(0, args.slot);
	EXPECT_EQ(1, args.back);
	EXPECT_EQ(0, args.result);
	EXPECT_EQ(0, args.generation & 1);
	EXPECT_EQ(tribuf_word_publish(TRIBUF_WORD_INIT), word_of(&self->p));
	desc = desc_of(&self->p, args.slot);
	EXPECT_EQ(args.generation, desc->generation);
	EXPECT_EQ(1, desc->seq);
	EXPECT_EQ(5, desc->bytes);
	EXPECT_EQ(77, desc->timestamp);
	EXPECT_EQ(88, desc->cookie);
	EXPECT_EQ(0xabcd0000, desc->flags);
	EXPECT_STREQ("user's own", (char *)desc->user);
}

TEST_F(swap, acquire_gives_what_was_published)
{
	struct tribuf_acquired frame;

	memcpy(slot_of(&self->p, 0), "hello", 5);
	ASSERT_EQ(0, kernel_publish(self->p.fd, 5, NULL));
	ASSERT_EQ(0, kernel_acquire(self->c.fd, &frame));
	EXPECT_EQ(0, frame.slot);
	EXPECT_EQ(0, frame.reserved);
	EXPECT_EQ(0, memcmp(&frame.desc, desc_of(&self->c, 0), sizeof(frame.desc)));
	EXPECT_EQ(5, frame.desc.bytes);
	EXPECT_EQ(0, memcmp(slot_of(&self->c, 0), "hello", 5));
	EXPECT_EQ(0, tribuf_word_front(word_of(&self->c)));
	EXPECT_EQ(-EAGAIN, kernel_acquire(self->c.fd, NULL));
}

TEST_F(swap, the_newest_frame_wins)
{
	struct tribuf_publish_args args;
	struct tribuf_acquired frame;

	ASSERT_EQ(0, kernel_publish(self->p.fd, 1, NULL));
	for (uint64_t seq = 2; seq <= 10; seq++) {
		ASSERT_EQ(0, kernel_publish(self->p.fd, seq, &args));
		EXPECT_EQ(TRIBUF_OVERWROTE, args.result);
		EXPECT_EQ(seq, args.seq);
	}
	ASSERT_EQ(0, kernel_acquire(self->c.fd, &frame));
	EXPECT_EQ(10, frame.desc.seq);
	EXPECT_EQ(10, frame.desc.bytes);
	ASSERT_EQ(0, kernel_publish(self->p.fd, 1, &args));
	EXPECT_EQ(0, args.result);
	EXPECT_EQ(9, peek(self->c.fd).claimed_overwritten);
	EXPECT_EQ(9, self->p.frames->overwritten);
}

/* Every slot comes round, each time with a generation of its own. */
TEST_F(swap, generations_never_repeat)
{
	uint32_t last[TRIBUF_SLOTS] = {};
	struct tribuf_publish_args args;

	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, kernel_publish(self->p.fd, 1, &args));
		EXPECT_LT(last[args.slot], args.generation);
		EXPECT_EQ(0, args.generation & 1);
		last[args.slot] = args.generation;
		EXPECT_EQ(tribuf_word_back(word_of(&self->p)), args.back);
		if (i % 3)
			ASSERT_EQ(0, kernel_acquire(self->c.fd, NULL));
	}
	EXPECT_TRUE(last[0] && last[1] && last[2]);
}

TEST_F(swap, inline_and_kernel_calls_mix)
{
	struct tribuf_acquired frame;
	int slot;

	EXPECT_EQ(1, publish_pattern(&self->p));
	ASSERT_EQ(0, kernel_acquire(self->c.fd, &frame));
	EXPECT_TRUE(frame_holds(&self->c, (int)frame.slot));
	slot = begin(&self->p);
	pattern_fill(slot_of(&self->p, (uint32_t)slot), 2, pattern_bytes(2, SLOT));
	ASSERT_EQ(0, kernel_publish(self->p.fd, pattern_bytes(2, SLOT), NULL));
	slot = acquire(&self->c);
	ASSERT_LE(0, slot);
	EXPECT_EQ(2, desc_of(&self->c, (uint32_t)slot)->seq);
	EXPECT_TRUE(frame_holds(&self->c, slot));
}

TEST_F(swap, observers_take_nothing_away)
{
	struct tribuf_acquired frame;
	uint32_t word;

	EXPECT_EQ(-EAGAIN, kernel_acquire(self->o.fd, &frame));
	publish_pattern(&self->p);
	word = word_of(&self->p);
	ASSERT_EQ(0, kernel_acquire(self->o.fd, &frame));
	EXPECT_EQ(1, frame.desc.seq);
	EXPECT_EQ(word, word_of(&self->p));
	EXPECT_EQ(-EAGAIN, kernel_acquire(self->o.fd, &frame));
	ASSERT_EQ(0, kernel_acquire(self->c.fd, NULL));
	EXPECT_EQ(-EAGAIN, kernel_acquire(self->o.fd, &frame));
	publish_pattern(&self->p);
	publish_pattern(&self->p);
	ASSERT_EQ(0, kernel_acquire(self->c.fd, NULL));
	/* The newest is in the consumer's hands; it can be seen all the same. */
	ASSERT_EQ(0, kernel_acquire(self->o.fd, &frame));
	EXPECT_EQ(3, frame.desc.seq);
}

TEST_F(swap, copy_serves_every_slot)
{
	unsigned char copy[256];
	struct tribuf_acquired frame;

	for (unsigned char n = 1; n <= 3; n++) {
		int slot = begin(&self->p);

		memset(slot_of(&self->p, (uint32_t)slot), n, SLOT);
		ASSERT_LE(0, publish(&self->p, slot, SLOT));
		ASSERT_EQ(0, kernel_acquire(self->o.fd, &frame));
		ASSERT_EQ(0, kernel_copy(self->o.fd, frame.slot, frame.desc.generation, SLOT - 256,
					 copy, 256));
		EXPECT_EQ(n, copy[0]);
		EXPECT_EQ(n, copy[255]);
		ASSERT_EQ(0, kernel_copy(self->c.fd, frame.slot, frame.desc.generation, 0, copy,
					 1));
		ASSERT_EQ(0, kernel_copy(self->p.fd, frame.slot, frame.desc.generation, SLOT, copy,
					 0));
	}
}

TEST_F(swap, copy_of_a_recycled_frame_is_stale)
{
	struct tribuf_publish_args first;
	char byte;

	ASSERT_EQ(0, kernel_publish(self->p.fd, 1, &first));
	ASSERT_EQ(0, kernel_copy(self->o.fd, first.slot, first.generation, 0, &byte, 1));
	ASSERT_EQ(0, kernel_publish(self->p.fd, 1, NULL));
	/* In the back slot, and until it is begun, the old frame is still whole. */
	ASSERT_EQ((int)first.slot, begin(&self->p));
	EXPECT_EQ(-ESTALE, kernel_copy(self->o.fd, first.slot, first.generation, 0, &byte, 1));
	ASSERT_EQ(0, kernel_publish(self->p.fd, 1, NULL));
	EXPECT_EQ(-ESTALE, kernel_copy(self->o.fd, first.slot, first.generation, 0, &byte, 1));
	EXPECT_EQ(-ESTALE, kernel_copy(self->o.fd, first.slot, first.generation + 4, 0, &byte, 1));
}

TEST_F(swap, copies_large_frames_whole)
{
	unsigned char *copy = malloc(3 << 20);
	struct tribuf_publish_args args;
	struct peer p;

	ASSERT_EQ(0, peer_open(&p, "selftest.large", TRIBUF_PRODUCER, TRIBUF_CREATE, 3 << 20));
	pattern_fill(p.slots, 1, 3 << 20);
	ASSERT_EQ(0, kernel_publish(p.fd, 3 << 20, &args));
	memset(copy, 0, 3 << 20);
	EXPECT_EQ(0, kernel_copy(p.fd, args.slot, args.generation, 0, copy, 3 << 20));
	EXPECT_TRUE(pattern_holds(copy, 1, 3 << 20));
	peer_close(&p);
	free(copy);
}

static int format_set(int fd, const void *data, uint32_t bytes, uint32_t *version)
{
	struct tribuf_format_args args = {
		.size = sizeof(args), .flags = TRIBUF_FORMAT_SET, .bytes = bytes,
		.buf = (uintptr_t)data,
	};
	int err = tri_ioctl(fd, TRIBUF_IOC_FORMAT, &args);

	*version = args.version;
	return err;
}

static int format_get(int fd, void *data, uint32_t *bytes, uint32_t *version)
{
	struct tribuf_format_args args = {
		.size = sizeof(args), .bytes = *bytes, .buf = (uintptr_t)data,
	};
	int err = tri_ioctl(fd, TRIBUF_IOC_FORMAT, &args);

	*version = args.version;
	*bytes = args.bytes;
	return err;
}

TEST_F(swap, format_travels)
{
	char data[TRIBUF_FORMAT_BYTES] = "", got[TRIBUF_FORMAT_BYTES] = "";
	uint32_t version, first, bytes = sizeof(got);
	struct tribuf_acquired frame;

	ASSERT_EQ(0, format_get(self->c.fd, got, &bytes, &version));
	EXPECT_EQ(0, version);
	EXPECT_EQ(0, bytes);
	memset(data, 'f', sizeof(data));
	ASSERT_EQ(0, format_set(self->p.fd, data, sizeof(data), &first));
	EXPECT_NE(0, first);
	EXPECT_EQ(0, first & 1);
	bytes = sizeof(got);
	ASSERT_EQ(0, format_get(self->o.fd, got, &bytes, &version));
	EXPECT_EQ(first, version);
	EXPECT_EQ(sizeof(data), bytes);
	EXPECT_EQ(0, memcmp(data, got, sizeof(data)));
	ASSERT_EQ(0, kernel_publish(self->p.fd, 1, NULL));
	ASSERT_EQ(0, kernel_acquire(self->c.fd, &frame));
	EXPECT_EQ(first, frame.desc.format);
	ASSERT_EQ(0, format_set(self->p.fd, "x", 1, &version));
	EXPECT_EQ(0, version & 1);
	EXPECT_LT(first, version);
	EXPECT_EQ(version, peek(self->keeper).claimed_format);
	EXPECT_EQ(version, self->c.frames->format.version);
}

TEST_F(swap, format_is_cut_to_the_room)
{
	char got[8] = "--------";
	uint32_t version, bytes = 3;

	ASSERT_EQ(0, format_set(self->p.fd, "abcdef", 6, &version));
	ASSERT_EQ(0, format_get(self->c.fd, got, &bytes, &version));
	EXPECT_EQ(6, bytes);
	EXPECT_EQ(0, memcmp(got, "abc-----", 8));
	bytes = 0;
	ASSERT_EQ(0, format_get(self->c.fd, NULL, &bytes, &version));
	EXPECT_EQ(6, bytes);
}

TEST_F(swap, format_empty_is_a_format)
{
	uint32_t version, bytes = 8;
	char got[8];

	ASSERT_EQ(0, format_set(self->p.fd, NULL, 0, &version));
	EXPECT_NE(0, version);
	ASSERT_EQ(0, format_get(self->c.fd, got, &bytes, &version));
	EXPECT_EQ(0, bytes);
}

/* A producer that dies while it writes the format blocks nobody for ever. */
TEST_F(swap, format_left_half_written)
{
	uint32_t version, bytes = 8;
	char got[8];

	self->p.frames->format.version |= 1;
	EXPECT_EQ(-EAGAIN, format_get(self->c.fd, got, &bytes, &version));
	ASSERT_EQ(0, format_set(self->p.fd, "new", 3, &version));
	EXPECT_EQ(0, version & 1);
	EXPECT_EQ(0, format_get(self->c.fd, got, &bytes, &version));
}

TEST_F(swap, info_counts)
{
	struct tribuf_info_args i;

	for (int n = 0; n < 5; n++)
		ASSERT_EQ(0, kernel_publish(self->p.fd, 9, NULL));
	ASSERT_EQ(0, kernel_acquire(self->c.fd, NULL));
	ASSERT_EQ(0, info(self->keeper, &i, 0));
	EXPECT_EQ(5, i.kernel_publishes);
	EXPECT_EQ(1, i.kernel_acquires);
	EXPECT_EQ(0, i.kernel_rings);
	EXPECT_EQ(0, i.kernel_wakes);
	EXPECT_EQ(5, i.claimed_seq);
	EXPECT_EQ(9, i.claimed_bytes);
	EXPECT_EQ(4, i.claimed_overwritten);
	EXPECT_EQ(word_of(&self->p), i.claimed_word);
	EXPECT_EQ(TRIBUF_KEEPER, i.role);
	EXPECT_EQ(1, i.observers);
	EXPECT_EQ(1, i.keepers);
	EXPECT_EQ(getpid(), i.producer_pid);
	EXPECT_EQ(getpid(), i.consumer_pid);
}

TEST_F(swap, info_clears_pri_and_peek_does_not)
{
	struct tribuf_info_args i;

	/* The consumer came after the producer's last look. */
	EXPECT_TRUE(polled(self->p.fd, POLLPRI, 0) & POLLPRI);
	ASSERT_EQ(0, info(self->p.fd, &i, TRIBUF_INFO_PEEK));
	EXPECT_TRUE(polled(self->p.fd, POLLPRI, 0) & POLLPRI);
	ASSERT_EQ(0, info(self->p.fd, &i, 0));
	EXPECT_EQ(0, polled(self->p.fd, POLLPRI, 0));
	peer_close(&self->c);
	ASSERT_EQ(0, peer_open(&self->c, test_name(), TRIBUF_CONSUMER, 0, 0));
	EXPECT_TRUE(polled(self->p.fd, POLLPRI, 0) & POLLPRI);
}

TEST_F(swap, read_takes_the_next_frame)
{
	struct tribuf_acquired frame;
	char larger[2 * sizeof(frame)];

	publish_pattern(&self->p);
	publish_pattern(&self->p);
	ASSERT_EQ(sizeof(frame), read(self->c.fd, &frame, sizeof(frame)));
	EXPECT_EQ(2, frame.desc.seq);
	EXPECT_EQ(tribuf_word_front(word_of(&self->c)), frame.slot);
	EXPECT_TRUE(frame_holds(&self->c, (int)frame.slot));
	ASSERT_EQ(sizeof(frame), read(self->o.fd, larger, sizeof(larger)));
	EXPECT_EQ(0, memcmp(larger, &frame, sizeof(frame)));
	ASSERT_EQ(0, fcntl(self->c.fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-EAGAIN, negative_errno(read(self->c.fd, &frame, sizeof(frame))));
	publish_pattern(&self->p);
	EXPECT_EQ(-EINVAL, negative_errno(read(self->c.fd, &frame, sizeof(frame) - 1)));
	EXPECT_EQ(-EINVAL, negative_errno(read(self->c.fd, &frame, 0)));
	EXPECT_EQ(sizeof(frame), read(self->c.fd, &frame, sizeof(frame)));
	EXPECT_EQ(-EACCES, negative_errno(read(self->p.fd, &frame, sizeof(frame))));
	EXPECT_EQ(-EACCES, negative_errno(read(self->keeper, &frame, sizeof(frame))));
	EXPECT_EQ(-ENOTCONN, negative_errno(read(self->loose, &frame, sizeof(frame))));
	EXPECT_GT(0, write(self->p.fd, &frame, sizeof(frame)));
}

/* ---- LIST ---- */

static int list(int fd, struct tribuf_list_args *args, struct tribuf_list_entry *entries,
		uint32_t count)
{
	args->size = sizeof(*args);
	args->entries = (uintptr_t)entries;
	args->count = count;
	args->entry_size = sizeof(*entries);
	return tri_ioctl(fd, TRIBUF_IOC_LIST, args);
}

TEST_F(swap, list_tells_of_every_channel_once)
{
	struct tribuf_list_args args = {};
	struct tribuf_list_entry e[3];
	int fds[7], seen[7] = {}, found = 0;
	char name[TRIBUF_NAME_SIZE];

	for (int i = 0; i < 7; i++) {
		snprintf(name, sizeof(name), "selftest.list.%d", i);
		fds[i] = join(name, TRIBUF_KEEPER, TRIBUF_CREATE, SLOT);
		ASSERT_LE(0, fds[i]);
	}
	publish_pattern(&self->p);
	do {
		ASSERT_EQ(0, list(self->loose, &args, e, 3));
		ASSERT_LE(args.count, 3);
		for (uint32_t i = 0; i < args.count; i++) {
			int number = -1;

			if (sscanf((char *)e[i].name, "selftest.list.%d", &number) == 1)
				seen[number % 7]++;
			if (strcmp((char *)e[i].name, test_name()))
				continue;
			found++;
			EXPECT_EQ(self->p.at.channel, e[i].channel);
			EXPECT_EQ(SLOT, e[i].slot_size);
			EXPECT_EQ(1, e[i].claimed_seq);
			EXPECT_EQ(peek(self->p.fd).state, e[i].state);
			EXPECT_EQ(geteuid(), e[i].uid);
			EXPECT_EQ(0600, e[i].mode);
			EXPECT_EQ(getpid(), e[i].producer_pid);
			EXPECT_EQ(getpid(), e[i].consumer_pid);
			EXPECT_EQ(1, e[i].observers);
			EXPECT_EQ(1, e[i].keepers);
		}
	} while (args.count == 3);
	EXPECT_EQ(1, found);
	for (int i = 0; i < 7; i++) {
		EXPECT_EQ(1, seen[i]);
		close(fds[i]);
	}
}

TEST_F(swap, list_refuses)
{
	struct tribuf_list_args args = {};
	struct tribuf_list_entry e[1];

	EXPECT_EQ(-EINVAL, list(self->loose, &args, e, 0));
	EXPECT_EQ(-EFAULT, list(self->loose, &args, NULL, 1));
	args = (struct tribuf_list_args){ .flags = 1 };
	EXPECT_EQ(-EINVAL, list(self->loose, &args, e, 1));
	args = (struct tribuf_list_args){
		.size = sizeof(args), .entries = (uintptr_t)e, .count = 1,
		.entry_size = sizeof(e[0]) - 8,
	};
	EXPECT_EQ(-EINVAL, tri_ioctl(self->loose, TRIBUF_IOC_LIST, &args));
	args.entry_size = sizeof(e[0]);
	args.size = 8;
	EXPECT_EQ(-EINVAL, tri_ioctl(self->loose, TRIBUF_IOC_LIST, &args));
	EXPECT_EQ(-EFAULT, tri_ioctl(self->loose, TRIBUF_IOC_LIST, NULL));
	/* A cursor beyond the end, or any number at all, is no harm. */
	args = (struct tribuf_list_args){ .cursor = ~0ull };
	EXPECT_EQ(0, list(self->loose, &args, e, 1));
	EXPECT_EQ(0, args.count);
}

/* ---- what is refused, and changes nothing ---- */

/* Room for the arguments of any ioctl, and for a tail that the kernel knows not. */
union any_args {
	uint32_t size;
	struct tribuf_publish_args publish;
	struct tribuf_acquire_args acquire;
	struct tribuf_copy_args copy;
	struct tribuf_format_args format;
	struct tribuf_info_args info;
	unsigned char bytes[512];
};

/* A call with sane arguments by its rightful role, but for what a case spoils. */
struct call {
	unsigned long command;
	int fd;
	union any_args a;
};

FIXTURE(bad) {
	FIXTURE_DATA(swap) swap;
	struct call call;
	struct tribuf_publish_args frame;
	char buf[64];
};

FIXTURE_VARIANT(bad) {
	unsigned long command;
	int error;
	void (*spoil)(FIXTURE_DATA(bad) *self, struct call *call);
};

/* Statements on @call, its arguments @a and @s, the handles. */
#define BAD(ioc, lower, label, err, ...)				\
	static void bad_##lower##_##label(FIXTURE_DATA(bad) *self, struct call *call)	\
	{								\
		typeof(call->a.lower) *a maybe_unused = &call->a.lower;	\
		FIXTURE_DATA(swap) *s maybe_unused = &self->swap;	\
									\
		__VA_ARGS__;						\
	}								\
	FIXTURE_VARIANT_ADD(bad, lower##_##label) {			\
		.command = TRIBUF_IOC_##ioc, .error = err,		\
		.spoil = bad_##lower##_##label,				\
	}

/* What all of them have in common. */
#define BAD_FOR_ALL(ioc, lower)						\
	BAD(ioc, lower, size_zero, EINVAL, a->size = 0);		\
	BAD(ioc, lower, size_short, EINVAL, a->size -= 8);		\
	BAD(ioc, lower, longer_and_not_zero, E2BIG, a->size += 16;	\
		call->a.bytes[sizeof(*a) + 15] = 1);			\
	BAD(ioc, lower, unknown_flag, EINVAL, a->flags |= 1u << 31);	\
	BAD(ioc, lower, not_attached, ENOTCONN, call->fd = s->loose)

BAD_FOR_ALL(PUBLISH, publish);
BAD(PUBLISH, publish, by_consumer, EACCES, call->fd = s->c.fd);
BAD(PUBLISH, publish, by_observer, EACCES, call->fd = s->o.fd);
BAD(PUBLISH, publish, by_keeper, EACCES, call->fd = s->keeper);
BAD(PUBLISH, publish, too_long, EMSGSIZE, a->bytes = SLOT + 1);
BAD(PUBLISH, publish, much_too_long, EMSGSIZE, a->bytes = ~0ull);
BAD(PUBLISH, publish, system_flags, EINVAL, a->frame_flags = 1u << 15);
BAD(PUBLISH, publish, reserved, EINVAL, a->reserved = 1);
BAD(PUBLISH, publish, word_spoilt, EPROTO, s->c.state->word = 0);

BAD_FOR_ALL(ACQUIRE, acquire);
BAD(ACQUIRE, acquire, by_producer, EACCES, call->fd = s->p.fd);
BAD(ACQUIRE, acquire, by_keeper, EACCES, call->fd = s->keeper);
BAD(ACQUIRE, acquire, nothing_new, EAGAIN, kernel_acquire(s->c.fd, NULL));
BAD(ACQUIRE, acquire, observer_nothing_new, EAGAIN, call->fd = s->o.fd;
	kernel_acquire(s->o.fd, NULL));
BAD(ACQUIRE, acquire, word_spoilt, EPROTO, s->p.state->word = 0x3f | TRIBUF_FRESH);

BAD_FOR_ALL(COPY, copy);
BAD(COPY, copy, by_keeper, EACCES, call->fd = s->keeper);
BAD(COPY, copy, slot_3, EINVAL, a->slot = 3);
BAD(COPY, copy, slot_huge, EINVAL, a->slot = ~0u);
BAD(COPY, copy, crossing_the_end, EINVAL, a->offset = SLOT - sizeof(self->buf) + 1);
BAD(COPY, copy, offset_beyond, EINVAL, a->offset = SLOT + 1; a->bytes = 0);
BAD(COPY, copy, bytes_beyond, EINVAL, a->bytes = SLOT + 1);
BAD(COPY, copy, overflow, EINVAL, a->offset = ~0ull - 10; a->bytes = 20);
BAD(COPY, copy, bytes_huge, EINVAL, a->bytes = ~0ull);
BAD(COPY, copy, reserved, EINVAL, a->reserved = 1);
BAD(COPY, copy, to_nowhere, EFAULT, a->buf = 0);
BAD(COPY, copy, to_the_kernel, EFAULT, a->buf = 0xffff888000000000ull);
BAD(COPY, copy, other_generation, ESTALE, a->generation += 2);
BAD(COPY, copy, odd_generation, ESTALE, a->generation |= 1);

BAD_FOR_ALL(FORMAT, format);
BAD(FORMAT, format, by_keeper, EACCES, call->fd = s->keeper);
BAD(FORMAT, format, set_by_consumer, EACCES, a->flags = TRIBUF_FORMAT_SET; call->fd = s->c.fd);
BAD(FORMAT, format, set_by_observer, EACCES, a->flags = TRIBUF_FORMAT_SET; call->fd = s->o.fd);
BAD(FORMAT, format, set_too_long, EMSGSIZE, a->flags = TRIBUF_FORMAT_SET;
	a->bytes = TRIBUF_FORMAT_BYTES + 1);
BAD(FORMAT, format, set_from_nowhere, EFAULT, a->flags = TRIBUF_FORMAT_SET; a->buf = 0);
BAD(FORMAT, format, get_to_nowhere, EFAULT, a->buf = 0);
BAD(FORMAT, format, reserved, EINVAL, a->reserved = 1);
BAD(FORMAT, format, claims_too_much, EPROTO, s->p.frames->format.bytes = 1025);
BAD(FORMAT, format, half_written, EAGAIN, s->p.frames->format.version |= 1);

BAD_FOR_ALL(INFO, info);

FIXTURE_SETUP(bad)
{
	struct call *call = &self->call;
	FIXTURE_DATA(swap) *s = &self->swap;
	uint32_t version;

	ASSERT_EQ(0, swap_open(s));
	ASSERT_EQ(0, format_set(s->p.fd, "format", 6, &version));
	ASSERT_EQ(0, kernel_publish(s->p.fd, SLOT, &self->frame));
	call->command = variant->command;
	call->fd = s->c.fd;
	switch (variant->command) {
	case TRIBUF_IOC_PUBLISH:
		call->fd = s->p.fd;
		call->a.size = sizeof(call->a.publish);
		break;
	case TRIBUF_IOC_ACQUIRE:
		call->a.size = sizeof(call->a.acquire);
		break;
	case TRIBUF_IOC_COPY:
		call->a.copy = (struct tribuf_copy_args){
			.size = sizeof(call->a.copy), .slot = self->frame.slot,
			.generation = self->frame.generation, .bytes = sizeof(self->buf),
			.buf = (uintptr_t)self->buf,
		};
		break;
	case TRIBUF_IOC_FORMAT:
		call->fd = s->p.fd;
		call->a.format = (struct tribuf_format_args){
			.size = sizeof(call->a.format), .bytes = sizeof(self->buf),
			.buf = (uintptr_t)self->buf,
		};
		break;
	case TRIBUF_IOC_INFO:
		call->a.size = sizeof(call->a.info);
		break;
	}
}

FIXTURE_TEARDOWN(bad)
{
	swap_close(&self->swap);
}

TEST_F(bad, is_refused_and_nothing_changed)
{
	struct tribuf_frames frames;
	struct tribuf_info_args before, after;
	FIXTURE_DATA(swap) *s = &self->swap;

	variant->spoil(self, &self->call);
	before = peek(s->keeper);
	memcpy(&frames, s->p.frames, sizeof(frames));
	EXPECT_EQ(-variant->error, tri_ioctl(self->call.fd, self->call.command, &self->call.a));
	after = peek(s->keeper);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	EXPECT_EQ(0, memcmp(&frames, s->p.frames, sizeof(frames)));
	EXPECT_EQ(-EFAULT, tri_ioctl(self->call.fd, self->call.command, NULL));
}

TEST_F(swap, longer_structs_of_zeroes_are_taken)
{
	union any_args a = { .publish = { .bytes = 1 } };

	a.size = sizeof(a.publish) + 16;
	EXPECT_EQ(0, tri_ioctl(self->p.fd, TRIBUF_IOC_PUBLISH, &a));
	EXPECT_EQ(1, a.publish.seq);
	memset(&a, 0, sizeof(a));
	a.size = sizeof(a.acquire) + 16;
	EXPECT_EQ(0, tri_ioctl(self->c.fd, TRIBUF_IOC_ACQUIRE, &a));
	EXPECT_EQ(1, a.acquire.frame.desc.seq);
	memset(&a, 0, sizeof(a));
	a.size = sizeof(a.info) + 16;
	EXPECT_EQ(0, tri_ioctl(self->c.fd, TRIBUF_IOC_INFO, &a));
	EXPECT_EQ(1, a.info.claimed_seq);
}

TEST_F(swap, ring_refuses)
{
	EXPECT_EQ(-ENOTCONN, ring(self->loose));
	EXPECT_EQ(-EACCES, ring(self->o.fd));
	EXPECT_EQ(-EACCES, ring(self->keeper));
	EXPECT_EQ(-EINVAL, tri_ioctl(self->p.fd, TRIBUF_IOC_RING, (void *)1));
	EXPECT_EQ(0, ring(self->p.fd));
	EXPECT_EQ(0, ring(self->c.fd));
}

/* A claim to more bytes than a slot has is not passed on; the frame is dropped. */
TEST_F(swap, a_frame_that_claims_too_much_is_dropped)
{
	struct tribuf_acquired frame;

	ASSERT_EQ(0, kernel_publish(self->p.fd, 1, NULL));
	desc_of(&self->p, 0)->bytes = SLOT + 1;
	EXPECT_EQ(-EPROTO, kernel_acquire(self->c.fd, &frame));
	EXPECT_EQ(-EAGAIN, kernel_acquire(self->c.fd, &frame));
	ASSERT_EQ(0, kernel_publish(self->p.fd, 2, NULL));
	ASSERT_EQ(0, kernel_acquire(self->c.fd, &frame));
	EXPECT_EQ(2, frame.desc.bytes);
}

/* After the role ended, every call through what is left of it says so. */
TEST_F(swap, all_calls_are_stale_once_the_role_has_ended)
{
	struct tribuf_format_args format = { .size = sizeof(format) };
	struct tribuf_info_args i;
	int ready[2], fd = -1;
	pid_t owner;
	char byte;

	peer_close(&self->c);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM, 0, ready));
	/* Attached by a process that has gone, through a file that we have too. */
	fd = device(O_RDWR);
	owner = in_child({
		struct tribuf_attach_args args = attach_args(NULL, TRIBUF_CONSUMER,
							     TRIBUF_BY_FD | TRIBUF_OWNED, 0);

		args.fd = self->p.fd;
		child_gets(0, attach(fd, &args));
	});
	ASSERT_EQ(0, ended(owner));
	EXPECT_EQ(-ESTALE, info(fd, &i, 0));
	EXPECT_EQ(-ESTALE, kernel_acquire(fd, NULL));
	EXPECT_EQ(-ESTALE, kernel_copy(fd, 0, 0, 0, &byte, 1));
	EXPECT_EQ(-ESTALE, tri_ioctl(fd, TRIBUF_IOC_FORMAT, &format));
	EXPECT_EQ(-ESTALE, ring(fd));
	EXPECT_EQ(-ESTALE, negative_errno(read(fd, &(struct tribuf_acquired){},
					       sizeof(struct tribuf_acquired))));
	EXPECT_EQ(NULL, map(fd, page_offset(TRIBUF_PAGE_GEOMETRY), page_size(), PROT_READ));
	EXPECT_TRUE(polled(fd, POLLIN, 0) & POLLERR);
	close(fd);
}

TEST_HARNESS_MAIN
